#include "devices/disk/disk_spec.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::devices {
namespace {

using ::testing::HasSubstr;

std::string MessageOf(const std::string& text) {
  auto spec = ParseDiskSpec(text);
  if (spec.ok()) return "accepted";
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(spec.status()).reason, "INVALID_DISK_SPEC");
  EXPECT_FALSE(GetErrorDetail(spec.status()).hint.empty()) << text;
  return std::string(spec.status().message());
}

TEST(DiskSpec, ReadsEverySpelling) {
  EXPECT_EQ(*ParseDiskSpec("ubda=/a"), (DiskSpec{0, "", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubd0=/a"), (DiskSpec{0, "", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdp=/a"), (DiskSpec{15, "", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubd15=/a"), (DiskSpec{15, "", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdbr=/a"), (DiskSpec{1, "r", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubd1rscdt=/a"), (DiskSpec{1, "rscdt", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdctcr=/a"), (DiskSpec{2, "rct", "/a", "", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdb=/cow,/back"), (DiskSpec{1, "", "/cow", "/back", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdb=/cow:/back"), (DiskSpec{1, "", "/cow", "/back", ""}));
  EXPECT_EQ(*ParseDiskSpec("ubdb=/a,,SER"), (DiskSpec{1, "", "/a", "", "SER"}));
  EXPECT_EQ(*ParseDiskSpec("ubdb=/cow,/back,SER"), (DiskSpec{1, "", "/cow", "/back", "SER"}));
  EXPECT_EQ(*ParseDiskSpec("ubdb=/a b/c=d"), (DiskSpec{1, "", "/a b/c=d", "", ""}));
}

TEST(DiskSpec, RefusesWithPositionAndReason) {
  EXPECT_THAT(MessageOf(""), HasSubstr("at position 1, a disk's name begins with \"ubd\""));
  EXPECT_THAT(MessageOf("hda=/a"), HasSubstr("at position 1, a disk's name begins with \"ubd\""));
  EXPECT_THAT(MessageOf("ubd"), HasSubstr("at position 4, the letter of the disk is missing"));
  EXPECT_THAT(MessageOf("ubd=sync"), HasSubstr("at position 4, there is no disk ubd="));
  EXPECT_THAT(MessageOf("ubdq=/a"), HasSubstr("at position 4, there is no disk ubdq"));
  EXPECT_THAT(MessageOf("ubd16=/a"), HasSubstr("at position 4, there is no disk ubd16"));
  EXPECT_THAT(MessageOf("ubd010=/a"), HasSubstr("there is no disk ubd010"));
  EXPECT_THAT(MessageOf("ubd99999999999999=/a"), HasSubstr("there is no disk ubd9999"));
  EXPECT_THAT(MessageOf("ubdA=/a"), HasSubstr("there is no disk ubdA"));
  EXPECT_THAT(MessageOf("ubdbx=/a"), HasSubstr("at position 5, 'x' is not a flag"));
  EXPECT_THAT(MessageOf("ubdbrsr=/a"), HasSubstr("at position 7, flag 'r' is given twice"));
  EXPECT_THAT(MessageOf("ubdb"), HasSubstr("at position 5, '=' and a path are missing"));
  EXPECT_THAT(MessageOf("ubdb="), HasSubstr("at position 6, the path is empty"));
  EXPECT_THAT(MessageOf("ubdb=,/b"), HasSubstr("at position 6, the path is empty"));
  EXPECT_THAT(MessageOf("ubdb=a"), HasSubstr("at position 6, the path is not absolute"));
  EXPECT_THAT(MessageOf("ubdb=/a,"), HasSubstr("at position 9, the backing file's path is empty"));
  EXPECT_THAT(MessageOf("ubdb=/a,,"), HasSubstr("at position 10, the serial number is empty"));
  EXPECT_THAT(MessageOf("ubdb=/a,/b,s,t"), HasSubstr("at position 14, there is something after"));
  EXPECT_THAT(MessageOf("ubdb=/a\n/b"), HasSubstr("at position 8, the path contains the control character 10"));
  EXPECT_THAT(MessageOf(std::string("ubdb=/a\0b", 9)), HasSubstr("control character 0"));
  EXPECT_THAT(MessageOf("ubdb=/a\"b"), HasSubstr("contains '\"'"));
  EXPECT_THAT(MessageOf("ubdb=/a\xff"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(MessageOf("ubdb=/a,,a b"), HasSubstr("at position 11, the serial number contains"));
  EXPECT_THAT(MessageOf("ubdbd=/a,/b"), HasSubstr("flag d (data, no COW) and a backing file exclude each other"));
  EXPECT_THAT(MessageOf("ubdb=/a,/a"), HasSubstr("are the same"));
}

TEST(DiskSpec, NamesTheDevicesThatThereAre) {
  auto spec = ParseDiskSpec("ubdq=/a");
  EXPECT_EQ(GetErrorDetail(spec.status()).hint, "this kernel has ubda to ubdp (or ubd0 to ubd15)");
}

TEST(DiskSpec, SeparatorsInPathsHaveAWayOut) {
  for (const char* text : {"ubdb=/srv/a,b.img", "ubdb=/srv/a:b.img"}) {
    auto spec = ParseDiskSpec(text);
    EXPECT_THAT(GetErrorDetail(spec.status()).hint, HasSubstr("make a symbolic link without them")) << text;
  }
  for (const char* path : {"/srv/a,b", "/srv/a:b"}) {
    absl::Status status = CheckDiskSpec({1, "", path, "", ""});
    EXPECT_THAT(std::string(status.message()), HasSubstr("at position 7, the path contains"));
    EXPECT_THAT(GetErrorDetail(status).hint, HasSubstr("make a symbolic link without them"));
    EXPECT_FALSE(CheckDiskSpec({1, "", "/ok", path, ""}).ok());
    EXPECT_FALSE(CheckDiskSpec({1, "", "/ok", "", path}).ok());
  }
}

TEST(DiskSpec, APathMayBeAsLongAsTheHosts) {
  std::string prefix = "ubdbr=/";
  EXPECT_TRUE(ParseDiskSpec(prefix + std::string(4094, 'a')).ok());
  EXPECT_TRUE(ParseDiskSpec(prefix + std::string(4094, 'a') + ",/" + std::string(4094, 'b')).ok());
  EXPECT_THAT(MessageOf(prefix + std::string(5000, 'a')), HasSubstr("has 5001 bytes, and the host allows 4095"));
  EXPECT_LT(MessageOf(prefix + std::string(5000, 'a')).size(), 300u);
  EXPECT_TRUE(ParseDiskSpec("ubdb=/a,," + std::string(128, 's')).ok());
  EXPECT_THAT(MessageOf("ubdb=/a,," + std::string(129, 's')), HasSubstr("longer than 128"));
}

TEST(DiskSpec, CheckRefusesWhatParsingWould) {
  EXPECT_TRUE(CheckDiskSpec({15, "tr", "/a", "/b", "S-1"}).ok());
  EXPECT_FALSE(CheckDiskSpec({16, "", "/a", "", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "rr", "/a", "", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "R", "/a", "", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "", "", "", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "", "a", "", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "", "/a", "b", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "d", "/a", "/b", ""}).ok());
  EXPECT_FALSE(CheckDiskSpec({0, "", "/a", "", "x y"}).ok());
}

TEST(DiskSpec, Names) {
  EXPECT_EQ(*ParseDiskName("ubda"), 0u);
  EXPECT_EQ(*ParseDiskName("ubdb"), 1u);
  EXPECT_EQ(*ParseDiskName("ubd1"), 1u);
  EXPECT_EQ(*ParseDiskName("ubd15"), 15u);
  for (const char* text : {"", "ubd", "ubdq", "ubd16", "ubdbr", "ubdb=/a", "ubd01", "ubdb ", "UBDB", "eth0"}) {
    EXPECT_EQ(ParseDiskName(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  for (uint32_t unit = 0; unit < kMaxDisks; ++unit) EXPECT_EQ(*ParseDiskName(DiskName(unit)), unit);
}

TEST(DiskSpec, Prints) {
  DiskSpec spec{1, "tr", "/a", "/b", "S"};
  EXPECT_EQ(PrintDiskSpec(spec), "ubdbrt=/a,/b,S");
  EXPECT_EQ(PrintDiskValue(spec), "/a,/b");
  EXPECT_EQ(PrintDiskSpec({1, "", "/a", "", "S"}), "ubdb=/a,,S");
  EXPECT_EQ(PrintDiskValue({1, "", "/a", "", "S"}), "/a");
  EXPECT_EQ(PrintDiskBootArgument({0, "", "/a", "/b", ""}), "ubda=/a,/b");
  EXPECT_EQ(PrintDiskBootArgument({0, "r", "/my disk", "", ""}), "ubdar=\"/my disk\"");
  EXPECT_EQ(PrintDiskBootArgument({0, "", "/\xc3\xa0", "", ""}), "ubda=\"/\xc3\xa0\"");
}

// Fixed seeds: a failure can be run again.
DiskSpec RandomSpec(std::mt19937& random) {
  auto below = [&random](uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random); };
  auto name = [&](const std::string& letters) {
    std::string text;
    for (uint32_t i = 1 + below(40); i > 0; --i) text += letters[below(static_cast<uint32_t>(letters.size()))];
    return text;
  };
  DiskSpec spec;
  spec.unit = below(kMaxDisks);
  for (char flag : std::string("rscdt")) {
    if (below(3) == 0) spec.flags += flag;
  }
  spec.path = "/" + name("abcXYZ019._-+=/ ~#%'$*?[](){}");
  if (below(2) == 0 && spec.flags.find('d') == std::string::npos) spec.backing = "/back" + name("abc/\xc3\xa9");
  if (below(3) == 0) spec.serial = name("ABC-0123_");
  return spec;
}

TEST(DiskSpecProperty, ParseUndoesPrint) {
  std::mt19937 random(1);
  int tried = 0;
  for (int i = 0; i < 20000; ++i) {
    DiskSpec spec = RandomSpec(random);
    if (!CheckDiskSpec(spec).ok()) continue;  // random bytes of "é" that are not UTF-8
    ++tried;
    auto parsed = ParseDiskSpec(PrintDiskSpec(spec));
    ASSERT_TRUE(parsed.ok()) << parsed.status() << " " << PrintDiskSpec(spec);
    ASSERT_EQ(*parsed, spec) << PrintDiskSpec(spec);
  }
  EXPECT_GT(tried, 10000);
}

TEST(DiskSpecProperty, GarbageIsRefusedOrFits) {
  std::mt19937 random(2);
  const std::string letters("ubdabprscdt=/,:019\"\n\0\xff ", 23);
  for (int i = 0; i < 200000; ++i) {
    std::string text = i % 2 == 0 ? "ubd" : "";
    size_t length = std::uniform_int_distribution<size_t>(0, 24)(random);
    while (text.size() < length) text += letters[std::uniform_int_distribution<size_t>(0, letters.size() - 1)(random)];
    auto spec = ParseDiskSpec(text);
    if (!spec.ok()) continue;
    ASSERT_TRUE(CheckDiskSpec(*spec).ok()) << text;
    ASSERT_EQ(*ParseDiskSpec(PrintDiskSpec(*spec)), *spec) << text;
  }
}

}  // namespace
}  // namespace umld::devices
