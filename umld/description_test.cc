#include "umld/description.h"

#include <string>

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(Description, HasABound) {
  EXPECT_TRUE(CheckDescription("", "guests/web1").ok());
  EXPECT_TRUE(CheckDescription(std::string(4096, 'x'), "guests/web1").ok());
  const absl::Status refused = CheckDescription(std::string(4097, 'x'), "guests/web1");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(refused).reason, "INVALID_DESCRIPTION");
  EXPECT_EQ(GetErrorDetail(refused).subject, "guests/web1");
}

}  // namespace
}  // namespace umld
