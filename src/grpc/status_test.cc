#include "grpc/status.h"

#include <gtest/gtest.h>

namespace weir::grpc {
namespace {

TEST(GrpcStatus, MapsHttpStatusesAsTheSpecificationSays) {
  EXPECT_EQ(code_of_http_status(400), Code::Internal);
  EXPECT_EQ(code_of_http_status(401), Code::Unauthenticated);
  EXPECT_EQ(code_of_http_status(403), Code::PermissionDenied);
  EXPECT_EQ(code_of_http_status(404), Code::Unimplemented);
  for (int status : {429, 502, 503, 504}) EXPECT_EQ(code_of_http_status(status), Code::Unavailable) << status;
  for (int status : {408, 464, 500, 505}) EXPECT_EQ(code_of_http_status(status), Code::Unknown) << status;
}

TEST(GrpcStatus, MapsResetCodesAsTheSpecificationSays) {
  using http::h2::ErrorCode;
  EXPECT_EQ(code_of_reset(ErrorCode::RefusedStream), Code::Unavailable);
  EXPECT_EQ(code_of_reset(ErrorCode::Cancel), Code::Cancelled);
  EXPECT_EQ(code_of_reset(ErrorCode::EnhanceYourCalm), Code::ResourceExhausted);
  EXPECT_EQ(code_of_reset(ErrorCode::InadequateSecurity), Code::PermissionDenied);
  EXPECT_EQ(code_of_reset(ErrorCode::NoError), Code::Internal);
}

TEST(GrpcStatus, KnowsGrpcContentTypesFromOthers) {
  EXPECT_TRUE(is_grpc_content_type("application/grpc"));
  EXPECT_TRUE(is_grpc_content_type("application/grpc+proto"));
  EXPECT_TRUE(is_grpc_content_type("application/grpc; charset=utf-8"));
  EXPECT_FALSE(is_grpc_content_type("application/grpc-web+proto"));
  EXPECT_FALSE(is_grpc_content_type("application/json"));
}

TEST(GrpcTimeout, ParsesEveryUnitAndRefusesTheRest) {
  using namespace std::chrono_literals;
  EXPECT_EQ(parse_timeout("1H"), Duration(1h));
  EXPECT_EQ(parse_timeout("2M"), Duration(2min));
  EXPECT_EQ(parse_timeout("3S"), Duration(3s));
  EXPECT_EQ(parse_timeout("99999999m"), Duration(99999999ms));
  EXPECT_EQ(parse_timeout("5u"), Duration(5us));
  EXPECT_EQ(parse_timeout("6n"), Duration(6ns));
  EXPECT_EQ(parse_timeout("00000001S"), Duration(1s));
  for (const char* bad : {"", "S", "1", "123456789S", "-1S", "-0S", "+1S", "1x", "1.5S", " 1S"}) {
    EXPECT_FALSE(parse_timeout(bad)) << bad;
  }
}

TEST(GrpcTimeout, OfEightDigitsOfHoursIsTheLongestAndNeverNegative) {
  EXPECT_EQ(parse_timeout("99999999H"), Duration::max());
  EXPECT_EQ(parse_timeout("2562048H"), Duration::max());
  EXPECT_EQ(parse_timeout("2562047H"), Duration(std::chrono::hours(2562047)));
  EXPECT_EQ(parse_timeout("99999999M"), Duration(std::chrono::minutes(99999999)));
}

TEST(GrpcMessage, PercentEncodesWhatIsNotPrintable) {
  EXPECT_EQ(encode_message("no healthy target"), "no healthy target");
  EXPECT_EQ(encode_message("100%\n\xc3\xa4"), "100%25%0A%C3%A4");
  EXPECT_EQ(encode_message("abcdef", 3), "abc");
}

TEST(GrpcMatcher, UnderstandsSingleListAndRange) {
  EXPECT_TRUE(matches_codes("12", 12));
  EXPECT_TRUE(matches_codes("0,5", 5));
  EXPECT_TRUE(matches_codes("0-99", 14));
  EXPECT_TRUE(matches_codes("0,10-14", 12));
  EXPECT_FALSE(matches_codes("0,10-14", 9));
  EXPECT_FALSE(matches_codes("", 0));
  EXPECT_FALSE(matches_codes("x", 0));
}

TEST(HealthMessages, ReadWhatAServerAnswers) {
  using namespace std::string_view_literals;
  EXPECT_EQ(parse_health_response("\0\0\0\0\2\x08\x01"sv), ServingStatus::Serving);
  EXPECT_EQ(parse_health_response("\0\0\0\0\2\x08\x02"sv), ServingStatus::NotServing);
  EXPECT_EQ(parse_health_response("\0\0\0\0\0"sv), ServingStatus::Unknown);
  EXPECT_FALSE(parse_health_response("\0\0\0\0\5\x08\x01"sv));
  EXPECT_FALSE(parse_health_response("\1\0\0\0\2\x08\x01"sv));
  EXPECT_EQ(health_request(""), "\0\0\0\0\0"sv);
  EXPECT_EQ(health_request("a"), "\0\0\0\0\3\x0a\1a"sv);
}

}  // namespace
}  // namespace weir::grpc
