#include "cfn/evaluator.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace weir::cfn {
namespace {

using nlohmann::json;

class FakeResources final : public ResourceValues {
 public:
  bool ref(std::string_view id, json& out) const override {
    out = std::string(id) + "-id";
    return true;
  }
  bool attribute(std::string_view id, std::string_view name, json& out) const override {
    out = std::string(id) + "/" + std::string(name);
    return true;
  }
};

struct Outcome {
  json value;
  std::string error;
};

// The value of the output `O`.
Outcome evaluate(const std::string& expression) {
  std::string text =
      "Parameters:\n  P: {Type: String, Default: pee}\n  L: {Type: CommaDelimitedList, Default: 'a, b,c'}\n"
      "Mappings: {M: {us-east-1: {Size: big, List: [x, y]}}}\n"
      "Conditions: {Yes: !Equals [!Ref P, pee], No: !Not [Condition: Yes], Both: !And [Condition: Yes, !Equals "
      "[1, 1]],\n"
      "  Either: !Or [Condition: No, Condition: Yes]}\n"
      "Resources: {R: {Type: AWS::ElasticLoadBalancingV2::LoadBalancer}}\n"
      "Outputs:\n  O:\n    Value: " +
      expression + "\n";
  Diagnostics diagnostics;
  Template tpl;
  read_template(text, tpl, diagnostics);
  ParameterValues parameters = resolve_parameters(tpl, {}, true, diagnostics);
  FakeResources resources;
  Pseudo pseudo{.region = "us-east-1", .account = "000000000000", .stack_id = "arn:stack", .stack_name = "web"};
  Evaluator evaluator(tpl, pseudo, parameters, &resources, diagnostics);
  Outcome out;
  if (!tpl.outputs.empty() && tpl.outputs[0].value != nullptr)
    out.value = evaluator.value(*tpl.outputs[0].value);
  for (const Diagnostic& d : diagnostics.sorted()) out.error += d.message;
  return out;
}

TEST(Functions, YieldWhatAwsYields) {
  const std::pair<const char*, json> cases[] = {
      {"!Ref P", "pee"},
      {"!Ref L", json::array({"a", "b", "c"})},
      {"!Ref R", "R-id"},
      {"!Ref AWS::Region", "us-east-1"},
      {"!Ref AWS::StackName", "web"},
      {"!GetAtt R.DNSName", "R/DNSName"},
      {"!GetAtt [R, DNSName]", "R/DNSName"},
      {"!Sub '${P}-${R}-${R.DNSName}-${!P}-${AWS::AccountId}'", "pee-R-id-R/DNSName-${P}-000000000000"},
      {"!Sub ['${X}:${P}', {X: !Ref R}]", "R-id:pee"},
      {"!Sub 'no $ {brace'", "no $ {brace"},
      {"!Join ['-', [a, !Ref P, 7]]", "a-pee-7"},
      {"!Join ['', !Ref L]", "abc"},
      {"!Split ['|', 'a||c|']", json::array({"a", "", "c", ""})},
      {"!Select [1, !Ref L]", "b"},
      {"!Select ['2', !Split ['.', 'a.b.c']]", "c"},
      {"!GetAZs ''", json::array({"us-east-1a", "us-east-1b", "us-east-1c"})},
      {"!Select [0, !GetAZs {Ref: 'AWS::Region'}]", "us-east-1a"},
      {"!If [Yes, 1, 2]", "1"},
      {"!If [No, 1, 2]", "2"},
      {"!If [Both, 1, 2]", "1"},
      {"!If [Either, 1, 2]", "1"},
      {"[a, !If [No, b, !Ref 'AWS::NoValue']]", json::array({"a"})},
      {"{a: 1, b: !Ref 'AWS::NoValue'}", json{{"a", "1"}}},
      {"!FindInMap [M, !Ref 'AWS::Region', Size]", "big"},
      {"!FindInMap [M, us-east-1, List]", json::array({"x", "y"})},
      {"!Base64 hello", "aGVsbG8="},
      {"!Base64 'ab'", "YWI="},
      {"!Base64 abc", "YWJj"},
      {"!Cidr [192.168.0.0/24, 3, 5]", json::array({"192.168.0.0/27", "192.168.0.32/27", "192.168.0.64/27"})},
      {"!Select [1, !Cidr [10.0.0.0/16, 2]]", "10.0.1.0/24"},
      {"2012-10-17", "2012-10-17"},
      {"1.10", "1.10"},
      {"yes", "true"},
      {"'yes'", "yes"},
  };
  for (const auto& [expression, expected] : cases) {
    Outcome out = evaluate(expression);
    EXPECT_EQ(out.error, "") << expression;
    EXPECT_EQ(out.value, expected) << expression;
  }
}

TEST(Functions, SayWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"!Select [3, !Ref L]", "Template error: Fn::Select cannot select nonexistent value at index 3"},
      {"!Select [x, !Ref L]", "The index of Fn::Select must be a number, not \"x\"."},
      {"!Join ['-', x]", "Fn::Join needs a list to join, not a single value."},
      {"!Join [a]", "Fn::Join needs a list of 2 values, not 1."},
      {"!FindInMap [M, nowhere, Size]", "Template error: Unable to get mapping for M::nowhere::Size."},
      {"!FindInMap [N, a, b]",
       "Template error: Mapping named 'N' is not present in the 'Mappings' section of template."
       " Did you mean M?"},
      {"!Cidr [10.0.0.0/24, 2, 8]", "Fn::Cidr: 10.0.0.0/24 does not hold 2 blocks of 8 bits."},
      {"!GetAtt R", "Fn::GetAtt needs a resource and an attribute (Resource.Attribute), not \"R\"."},
      {"!GetAtt Q.Arn",
       "Template error: instance of Fn::GetAtt references undefined resource Q. Did you mean R?"},
      {"!GetAZs mars-1", "Fn::GetAZs: there is only the region us-east-1 here, not mars-1."},
      {"!Equals [1, 1]", "Fn::Equals can be used in Conditions only."},
      {"{Ref: P, x: 1}", "Ref must be the only key of its mapping."},
  };
  for (const auto& [expression, expected] : cases)
    EXPECT_EQ(evaluate(expression).error, expected) << expression;
}

TEST(Properties, AreCoercedToTheirSchemas) {
  std::string text =
      "Parameters: {Port: {Type: Number, Default: 50051}}\n"
      "Resources:\n  R:\n    Type: X\n    Properties: {I: !Ref Port, S: 256, T: !Ref Port, B: Yes, C: "
      "'false',\n"
      "      N: 1.5, M: {K: 1, Upper: yes}, J: {Version: 2012-10-17, Max: 5, On: true, L: [!Ref Port]}, G: {C: "
      "'0'}}\n";
  Diagnostics diagnostics;
  Template tpl;
  read_template(text, tpl, diagnostics);
  ParameterValues parameters = resolve_parameters(tpl, {}, true, diagnostics);
  Evaluator evaluator(tpl, Pseudo{}, parameters, nullptr, diagnostics);
  Schema schema = parse_schema(
      "I: integer; S: string; T: string; B: boolean; C: boolean; N: number; M: map; J: json;"
      "G: {C: string}");
  json expected = {{"I", 50051},
                   {"S", "256"},
                   {"T", "50051"},
                   {"B", true},
                   {"C", false},
                   {"N", 1.5},
                   {"M", {{"K", "1"}, {"Upper", "true"}}},
                   {"J", {{"Version", "2012-10-17"}, {"Max", 5}, {"On", true}, {"L", {"50051"}}}},
                   {"G", {{"C", "0"}}}};
  EXPECT_EQ(evaluator.properties(tpl.resources[0], schema), expected);
  EXPECT_TRUE(diagnostics.empty());
}

}  // namespace
}  // namespace weir::cfn
