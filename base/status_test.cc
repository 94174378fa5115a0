#include "base/status.h"

#include <cerrno>

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(Status, DetailSurvivesAnnotation) {
  absl::Status status = MakeError(absl::StatusCode::kFailedPrecondition, "in use by guest web2",
                                  {"DISK_IN_USE", "guests/web1/disks/ubdb", "stop web2"});
  absl::Status annotated = Annotate(Annotate(status, "disk ubdb"), "guest web1");
  EXPECT_EQ(annotated.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(annotated.message(), "guest web1: disk ubdb: in use by guest web2");
  EXPECT_EQ(GetErrorDetail(annotated).reason, "DISK_IN_USE");
  EXPECT_EQ(GetErrorDetail(annotated).subject, "guests/web1/disks/ubdb");
  EXPECT_EQ(GetErrorDetail(annotated).hint, "stop web2");
}

TEST(Status, WhatAGuestWroteBecomesText) {
  const absl::Status status =
      MakeError(absl::StatusCode::kInternal, "a\xff\x1b[31m", {"R", std::string("s\0t", 3), "h\x80"});
  EXPECT_EQ(status.message(), "a??[31m");
  EXPECT_EQ(GetErrorDetail(status).subject, "s?t");
  EXPECT_EQ(GetErrorDetail(status).hint, "h?");
}

TEST(Status, PlainStatusHasEmptyDetail) {
  EXPECT_EQ(GetErrorDetail(absl::InternalError("x")).reason, "");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "guest web1").ok());
}

TEST(Status, ErrnoKeepsItsMeaning) {
  EXPECT_EQ(ErrnoError(ENOENT, "open /x").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrnoError(ENOSPC, "write /x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(EROFS, "write /x").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrnoError(EACCES, "open /x").message(), "open /x: Permission denied");
}

}  // namespace
}  // namespace umld
