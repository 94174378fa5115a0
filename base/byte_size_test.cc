#include "base/byte_size.h"

#include "gtest/gtest.h"

namespace umld {
namespace {

TEST(ByteSize, Parses) {
  EXPECT_EQ(*ParseByteSize("0"), 0u);
  EXPECT_EQ(*ParseByteSize("4096"), 4096u);
  EXPECT_EQ(*ParseByteSize("512K"), 512u << 10);
  EXPECT_EQ(*ParseByteSize("256m"), 256u << 20);
  EXPECT_EQ(*ParseByteSize("10GiB"), uint64_t{10} << 30);
  EXPECT_EQ(*ParseByteSize("1.5G"), uint64_t{3} << 29);
}

TEST(ByteSize, Refuses) {
  for (const char* text :
       {"", "M", "-1M", "12X", "1.5", "1..5G", "99999999999999999999", "9000000000G", "10 M", "0x10"}) {
    EXPECT_FALSE(ParseByteSize(text).ok()) << text;
  }
}

TEST(ByteSize, FormatIsInverseOfParse) {
  for (uint64_t size :
       {uint64_t{0}, uint64_t{1}, uint64_t{1000}, uint64_t{1024}, uint64_t{256} << 20, (uint64_t{1} << 40) + 512}) {
    EXPECT_EQ(*ParseByteSize(FormatByteSize(size)), size);
  }
  EXPECT_EQ(FormatByteSize(uint64_t{256} << 20), "256M");
}

TEST(ByteSize, Human) {
  EXPECT_EQ(HumanByteSize(512), "512 B");
  EXPECT_EQ(HumanByteSize(1536), "1.5 KiB");
  EXPECT_EQ(HumanByteSize(uint64_t{1} << 30), "1 GiB");
}

}  // namespace
}  // namespace umld
