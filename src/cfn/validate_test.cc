#include "cfn/validate.h"

#include <gtest/gtest.h>

#include "cfn/test_templates.h"

namespace weir::cfn {
namespace {

std::string report(std::string_view text, const ParameterValues& parameters = {}, bool require = true) {
  ValidateOptions options;
  options.require_parameters = require;
  auto result = validate(text, parameters, options);
  if (result) return "valid";
  std::string out;
  for (const Diagnostic& d : result.error()) {
    out += std::to_string(d.line) + ":" + std::to_string(d.column) + ": " + d.message + "\n";
  }
  return out;
}

struct Case {
  const char* name;
  const char* text;
  const char* expected;
};

TEST(Validate, AcceptsTheReferenceTemplate) {
  EXPECT_EQ(report(kReferenceTemplate, {{"Image", "i"}, {"CertificateArn", "arn"}}), "valid");
  EXPECT_EQ(report(kReferenceTemplate, {}, false), "valid");
}

TEST(Validate, NamesTenDifferentMistakesInOneGo) {
  EXPECT_EQ(report(kTenMistakes),
            "2:1: Invalid template property Resorces. Did you mean Resources?\n"
            "4:16: Parameter type Strng of Size is unknown. Did you mean String?\n"
            "8:13: Resource type AWS::EC2::VCP is not supported by Weir. Did you mean AWS::EC2::VPC?\n"
            "9:3: SubnetA (AWS::EC2::Subnet) needs the property CidrBlock.\n"
            "12:14: Ref names Vcp, which is neither a parameter nor a resource. Did you mean Vpc?\n"
            "13:7: AWS::EC2::Subnet has no property AvailabiltyZone. Did you mean AvailabilityZone?\n"
            "17:13: Tg.Port must be an integer from 1 to 65535, not \"http\".\n"
            "18:17: Tg.Protocol must be one of HTTP, HTTPS, not \"HTPP\". Did you mean HTTP?\n"
            "19:17: Tg.Matcher has no property GrcpCode. Did you mean GrpcCode?\n"
            "20:14: The function Fn::Joined is unknown. Did you mean Fn::Join?\n"
            "21:7: Duplicate key Port; the first is at line 17.\n"
            "24:12: AWS::EC2::VPC has no attribute VpcIdd for Fn::GetAtt. Did you mean VpcId?\n");
}

TEST(Validate, SaysWhatIsWrongAndWhere) {
  const Case cases[] = {
      {"empty", "  \n", "1:1: The template is empty.\n"},
      {"list", "- a\n", "1:1: A template is a mapping of sections, not a list.\n"},
      {"no resources", "Description: x\n",
       "1:1: Template format error: At least one Resources member must be defined.\n"},
      {"version", "AWSTemplateFormatVersion: 2011-01-01\nResources: {A: {Type: AWS::EC2::InternetGateway}}\n",
       "1:27: AWSTemplateFormatVersion must be \"2010-09-09\", not \"2011-01-01\".\n"},
      {"transform",
       "Transform: AWS::Serverless-2016-10-31\nResources: {A: {Type: AWS::EC2::InternetGateway}}\n",
       "1:1: The section Transform is not supported by Weir.\n"},
      {"alias", "Resources:\n  A: &x {Type: AWS::EC2::InternetGateway}\n  B: *x\n",
       "3:6: CloudFormation templates cannot use YAML aliases (*name).\n"
       "3:6: Resource B must be a mapping, not nothing.\n"},
      {"cycle",
       "Resources:\n  A: {Type: AWS::EC2::InternetGateway, DependsOn: B}\n  B: {Type: "
       "AWS::EC2::InternetGateway, DependsOn: A}\n"
       "  C: {Type: AWS::EC2::InternetGateway, DependsOn: A}\n  D: {Type: AWS::EC2::InternetGateway}\n",
       "2:3: Circular dependency between resources: [A, B]\n"},
      {"depends on nothing", "Resources:\n  A: {Type: AWS::EC2::InternetGateway, DependsOn: Bee}\n",
       "2:51: Template format error: Unresolved resource dependencies [Bee] in the Resources block of the "
       "template.\n"},
      {"octal",
       "Resources:\n  T:\n    Type: AWS::ElasticLoadBalancingV2::TargetGroup\n    Properties:\n      Port: "
       "0443\n",
       "5:13: T.Port: 0443 is an octal number in YAML 1.1; write it without the leading zero.\n"},
      {"unsupported property",
       "Resources:\n  L:\n    Type: AWS::Logs::LogGroup\n    Properties: {KmsKeyId: k}\n",
       "4:18: Weir does not support the property KmsKeyId of AWS::Logs::LogGroup.\n"},
      {"import",
       "Resources:\n  L:\n    Type: AWS::Logs::LogGroup\n    Properties: {LogGroupName: !ImportValue x}\n",
       "4:32: The function Fn::ImportValue is not supported by Weir.\n"},
      {"string where a list belongs",
       "Resources:\n  S: {Type: AWS::EC2::SecurityGroup, Properties: {GroupDescription: d}}\n  L:\n"
       "    Type: AWS::ElasticLoadBalancingV2::LoadBalancer\n    Properties: {SecurityGroups: !Ref S}\n",
       "5:34: L.SecurityGroups must be a list of strings, not a string.\n"},
      {"sub", "Resources:\n  L: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: !Sub \"a-${Nmae}\"}}\n",
       "2:61: Template error: variable Nmae in Fn::Sub expression does not resolve to a string.\n"},
      {"condition", "Resources:\n  L: {Type: AWS::Logs::LogGroup, Condition: Prod}\n",
       "2:45: Template error: unresolved condition dependency Prod.\n"},
      {"unknown tag", "Resources:\n  L: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: !Reff x}}\n",
       "2:61: Unknown tag !Reff. Did you mean !Ref?\n"},
      {"syntax", "Resources:\n  L: [\n", "3:1: YAML: end of sequence flow not found.\n"},
      {"json syntax", "{\"Resources\": {\n  \"A\": }\n}", "2:8: JSON: expected a value.\n"},
      {"json duplicate", "{\"Resources\": {\n \"A\": {\"Type\": \"AWS::Logs::LogGroup\"},\n \"A\": {}}}",
       "3:2: Duplicate key A; the first is at line 2.\n"},
  };
  for (const Case& c : cases) EXPECT_EQ(report(c.text), c.expected) << c.name;
}

TEST(Validate, KeepsYamlValuesAsAwsReadsThem) {
  EXPECT_EQ(
      report("Resources:\n  R:\n    Type: AWS::IAM::Role\n    Properties:\n      AssumeRolePolicyDocument: "
             "{Version: 2012-10-17, Statement: []}\n  V:\n    Type: AWS::EC2::VPC\n    Properties: {CidrBlock: "
             "10.0.0.0/16, EnableDnsSupport: Yes}\n"),
      "valid");
}

TEST(Validate, IgnoresReferencesToAbsentResourcesOutsideTheBranchInForce) {
  const char* text =
      "Conditions: {On: !Equals [!Ref 'AWS::Region', elsewhere]}\n"
      "Resources:\n"
      "  A: {Type: AWS::Logs::LogGroup, Condition: On}\n"
      "  B: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: !If [On, !Ref A, plain]}}\n"
      "  C: {Type: AWS::Logs::LogGroup, Condition: On, Properties: {LogGroupName: !Ref A}}\n";
  EXPECT_EQ(report(text), "valid");
  EXPECT_EQ(
      report(std::string(text) + "  D: {Type: AWS::Logs::LogGroup, Properties: {LogGroupName: !Ref A}}\n"),
      "6:61: Template format error: Unresolved resource dependencies [A] in the Resources block of the "
      "template: its condition is false.\n");
}

TEST(Parameters, ObeyTheirConstraints) {
  const std::string head =
      "Parameters:\n"
      "  N: {Type: Number, Default: 5, MinValue: 2, MaxValue: 9}\n"
      "  S: {Type: String, Default: abc, AllowedPattern: '[a-z]+', ConstraintDescription: only letters}\n"
      "  A: {Type: String, Default: x, AllowedValues: [x, y]}\n"
      "  L: {Type: CommaDelimitedList, Default: 'a, b'}\n"
      "  I: {Type: 'List<Number>', Default: '1,2'}\n"
      "  V: {Type: 'AWS::EC2::VPC::Id', Default: vpc-1}\n"
      "Resources: {G: {Type: AWS::EC2::InternetGateway}}\n";
  EXPECT_EQ(report(head), "valid");
  EXPECT_EQ(
      report(head, {{"N", "1"}}),
      "0:0: Parameter N failed to satisfy constraint: Member must have value greater than or equal to 2\n");
  EXPECT_EQ(report(head, {{"N", "x"}}), "0:0: Parameter 'N' must be a number.\n");
  EXPECT_EQ(report(head, {{"S", "abc1"}}), "0:0: Parameter S failed to satisfy constraint: only letters\n");
  EXPECT_EQ(report(head, {{"A", "z"}}), "0:0: Parameter 'A' must be one of AllowedValues\n");
  EXPECT_EQ(report(head, {{"I", "1,b"}}), "0:0: Parameter 'I' must be a number.\n");
  EXPECT_EQ(
      report(head, {{"V", "nope"}}),
      "0:0: Parameter validation failed: parameter value nope for parameter name V does not exist. Rollback "
      "requested by user.\n");
  EXPECT_EQ(report(head, {{"Q", "1"}, {"R", "1"}}), "0:0: Parameters: [Q, R] do not exist in the template\n");
  EXPECT_EQ(report("Parameters: {B: {Type: String}, A: {Type: String}}\nResources: {G: {Type: "
                   "AWS::EC2::InternetGateway}}\n"),
            "0:0: Parameters: [B, A] must have values\n");
}

TEST(Limits, AreReached) {
  EXPECT_EQ(report(std::string(kTemplateBytesMax + 1, ' ')),
            "1:1: The template is larger than 1000000 bytes.\n");
  EXPECT_EQ(report(std::string(65, '[') + std::string(65, ']')), "1:65: The template is nested too deeply.\n");
  std::string keys = "Resources:\n";
  for (size_t i = 0; i <= kMembersMax; ++i) keys += "  K" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(report(keys), "2002:3: A mapping has too many keys.\n");
}

}  // namespace
}  // namespace weir::cfn
