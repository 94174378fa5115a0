#include "umlctl/errors.h"

#include <sstream>

#include "base/status.h"
#include "gtest/gtest.h"
#include "umlctl/address.h"

namespace umld::umlctl {
namespace {

using absl::StatusCode;

TEST(Errors, ExitCodes) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("x")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("x")), 3);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("x")), 4);
  EXPECT_EQ(ExitCodeOf(absl::AlreadyExistsError("x")), 5);
  EXPECT_EQ(ExitCodeOf(absl::AbortedError("etag")), 5);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("x")), 5);
  EXPECT_EQ(ExitCodeOf(absl::PermissionDeniedError("x")), 6);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("x")), 7);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("x")), 8);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("x")), 70);
  EXPECT_EQ(ExitCodeOf(absl::UnknownError("x")), 70);
}

TEST(Errors, TheReasonDecidesWhereTheCodeDoesNot) {
  EXPECT_EQ(ExitCodeOf(MakeError(StatusCode::kAborted, "panic", {kGuestCrashed, "", ""})), 1);
  EXPECT_EQ(ExitCodeOf(SaidNo("Device is already configured", "guests/web1", "")), 1);
  EXPECT_EQ(ExitCodeOf(MakeError(StatusCode::kAborted, "etag", {"ETAG_MISMATCH", "", ""})), 5);
  EXPECT_EQ(ExitCodeOf(MakeError(StatusCode::kUnavailable, "x", {kDaemonUnreachable, "", ""})), 7);
  EXPECT_EQ(ExitCodeOf(MakeError(StatusCode::kUnavailable, "x", {"GUEST_UNREACHABLE", "", ""})), 4);
}

TEST(Errors, AlwaysTheSameTwoLines) {
  std::ostringstream err;
  PrintError(MakeError(StatusCode::kFailedPrecondition, "guest web1: \033[2Jin use\nby web2", {"", "", "stop web2"}),
             err);
  EXPECT_EQ(err.str(), "error: guest web1: ?[2Jin use by web2\nhint:  stop web2\n");
  std::ostringstream plain;
  PrintError(absl::NotFoundError("no \033[2Jguest web9"), plain);
  EXPECT_EQ(plain.str(), "error: no guest web9\nhint:  umlctl list shows the guests, umlctl image list the images\n");
}

}  // namespace
}  // namespace umld::umlctl
