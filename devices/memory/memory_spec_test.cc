#include "devices/memory/memory_spec.h"

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using ::testing::HasSubstr;

TEST(MemorySpec, ParsesWithinTheLimits) {
  EXPECT_EQ(*ParseMemory("32M"), uint64_t{32} << 20);
  EXPECT_EQ(*ParseMemory("256M"), uint64_t{256} << 20);
  EXPECT_EQ(*ParseMemory("1.5G"), uint64_t{1536} << 20);
  EXPECT_EQ(*ParseMemory("64G"), uint64_t{64} << 30);
  EXPECT_EQ(*ParseMemory("67112960"), uint64_t{67112960});
}

TEST(MemorySpec, RefusesTheRest) {
  auto message = [](const char* text) {
    absl::Status status = ParseMemory(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_MEMORY");
    return std::string(status.message());
  };
  EXPECT_EQ(message("8M"), "mem=8M: a UML kernel needs at least 32M");
  EXPECT_EQ(message("65G"), "mem=65G: a guest gets at most 64G");
  EXPECT_EQ(message("67108865"), "mem=67108865: it is not a multiple of a page (4096 bytes)");
  EXPECT_THAT(message("lots"), HasSubstr("is not a size"));
  EXPECT_THAT(message(""), HasSubstr("is not a size"));
  EXPECT_THAT(message("-300M"), HasSubstr("is not a size"));
  EXPECT_EQ(CheckMemory(0).code(), absl::StatusCode::kInvalidArgument);
}

TEST(MemorySpec, ChangesHaveASign) {
  EXPECT_EQ(*ParseMemoryChange("mem=-64M"), -(int64_t{64} << 20));
  EXPECT_EQ(*ParseMemoryChange("mem=+4K"), 4096);
  EXPECT_EQ(*ParseMemoryChange("mem=+64G"), int64_t{64} << 30);
  auto message = [](const char* text) {
    absl::Status status = ParseMemoryChange(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_MEMORY_CHANGE");
    return std::string(status.message());
  };
  EXPECT_THAT(message("mem=64M"), HasSubstr("sign is missing"));
  EXPECT_THAT(message("mem="), HasSubstr("sign is missing"));
  EXPECT_THAT(message("memory=-1M"), HasSubstr("does not begin"));
  EXPECT_THAT(message("mem=-"), HasSubstr("is not a size"));
  EXPECT_THAT(message("mem=--1M"), HasSubstr("is not a size"));
  EXPECT_THAT(message("mem=-0"), HasSubstr("pages"));
  EXPECT_THAT(message("mem=-1000G"), HasSubstr("64G"));
  EXPECT_THAT(message("mem=-4097"), HasSubstr("pages"));
}

TEST(MemorySpec, PrintsWhatTheKernelReadsExactly) {
  EXPECT_EQ(PrintMemoryArgument(uint64_t{256} << 20), "mem=256M");
  EXPECT_EQ(PrintMemoryArgument(uint64_t{64} << 30), "mem=65536M");
  EXPECT_EQ(PrintMemoryArgument((uint64_t{64} << 20) + 4096), "mem=65540K");
  for (uint64_t bytes = kMinMemory; bytes < kMinMemory + (uint64_t{4} << 20); bytes += kMemoryStep) {
    ASSERT_EQ(*ParseMemory(PrintMemoryArgument(bytes).substr(4)), bytes);
  }
}

}  // namespace
}  // namespace umld::devices
