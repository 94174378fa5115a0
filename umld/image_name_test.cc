#include "umld/image_name.h"

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

std::string Name(const std::string& text) { return ParseImageName(text).value_or("none"); }

TEST(ImageName, LatestIsNotWritten) {
  EXPECT_EQ(Name("debian"), "debian");
  EXPECT_EQ(Name("images/debian"), "debian");
  EXPECT_EQ(Name("debian:latest"), "debian");
  EXPECT_EQ(Name("debian:12.5"), "debian:12.5");
  EXPECT_EQ(Name("images/debian:bookworm"), "debian:bookworm");
}

TEST(ImageName, WhatIsNone) {
  for (const std::string& text :
       {std::string(), std::string("images/"), std::string("a:"), std::string(":a"), std::string("a:b:c"),
        std::string("a/b"), std::string("../a"), std::string("a b"), std::string(65, 'a'), "a:" + std::string(65, 'a'),
        std::string("sha256:0123456"), std::string("a\n"), std::string("a\0b", 3)}) {
    const auto name = ParseImageName(text);
    EXPECT_EQ(name.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(GetErrorDetail(name.status()).reason, "INVALID_NAME") << text;
  }
}

TEST(ImageName, FoundByNameAndByTheBeginningOfItsDigest) {
  std::vector<state::ImageRow> images(3);
  images[0].digest = "sha256:aaaaaa1";
  images[0].names = {"debian", "debian:12"};
  images[1].digest = "sha256:aaaaaa2";
  images[2].digest = "tiny";  // of an older umld
  images[2].names = {"tiny"};
  const auto find = [&](const std::string& text) { return FindImage(images, text); };
  EXPECT_EQ(*find("images/debian:latest"), &images[0]);
  EXPECT_EQ(*find("debian:12"), &images[0]);
  EXPECT_EQ(*find("tiny"), &images[2]);
  EXPECT_EQ(*find("sha256:aaaaaa2"), &images[1]);
  EXPECT_EQ(GetErrorDetail(find("sha256:aaaaaa").status()).reason, "AMBIGUOUS_DIGEST");
  EXPECT_EQ(find("sha256:aaaaa").status().code(), absl::StatusCode::kInvalidArgument) << "too few digits";
  EXPECT_EQ(find("sha256:AAAAAA2").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(find("sha256:bbbbbb").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(find("debian:13").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umld
