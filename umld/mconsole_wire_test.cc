#include "umld/mconsole_wire.h"

#include <cstring>
#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

std::string Datagram(uint32_t magic, uint32_t version, uint32_t length, const std::string& data) {
  std::string text(12, '\0');
  std::memcpy(&text[0], &magic, 4);
  std::memcpy(&text[4], &version, 4);
  std::memcpy(&text[8], &length, 4);
  return text + data;
}

TEST(MconsoleWire, DecodesWhatUmlMconsoleSends) {
  MconsoleRequest request = DecodeMconsoleRequest(Datagram(0xcafebabe, 2, 7, "version"));
  EXPECT_EQ(request.command, "version");
  EXPECT_EQ(request.refusal, "");
}

TEST(MconsoleWire, RefusesAsTheKernelDoesButRunsNothing) {
  EXPECT_EQ(DecodeMconsoleRequest(Datagram(0xcafebabe, 1, 7, "version")).refusal,
            "This driver only supports version 2 clients");
  EXPECT_EQ(DecodeMconsoleRequest(Datagram(0xcafebabe, 2, 512, "x")).refusal, "Request too large");
  MconsoleRequest old = DecodeMconsoleRequest("version");
  EXPECT_TRUE(old.raw_refusal);
  EXPECT_EQ(old.refusal, "ERR Version 0 mconsole clients are not supported by this driver");
  EXPECT_TRUE(DecodeMconsoleRequest("\xbe\xba").raw_refusal);  // the kernel would run its last command again
}

TEST(MconsoleWire, ALengthThatClaimsTooMuchGetsWhatWasSent) {
  EXPECT_EQ(DecodeMconsoleRequest(Datagram(0xcafebabe, 2, 100, "go")).command, "go");
  EXPECT_EQ(DecodeMconsoleRequest(Datagram(0xcafebabe, 2, 2, "gone")).command, "go");
}

TEST(MconsoleWire, RepliesAreCutIntoFragmentsWithTheErrorOnEach) {
  const std::string text(1200, 'x');
  std::vector<std::string> datagrams = EncodeMconsoleReply(-16, text);
  ASSERT_EQ(datagrams.size(), 3u);
  std::string joined;
  for (size_t i = 0; i < datagrams.size(); ++i) {
    int32_t err;
    uint32_t more, length;
    std::memcpy(&err, &datagrams[i][0], 4);
    std::memcpy(&more, &datagrams[i][4], 4);
    std::memcpy(&length, &datagrams[i][8], 4);
    EXPECT_EQ(err, -16);
    EXPECT_EQ(more, i < 2 ? 1u : 0u);
    ASSERT_LE(length, 512u);
    joined += datagrams[i].substr(12, length - 1);
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(EncodeMconsoleReply(0, "").size(), 1u);
}

TEST(MconsoleWire, RelativePathsAreTheCallers) {
  EXPECT_EQ(ResolveDiskPaths("config ubdb=swap", "/srv"), "config ubdb=/srv/swap");
  EXPECT_EQ(ResolveDiskPaths("config ubdb=a.cow,b", "/srv"), "config ubdb=/srv/a.cow,/srv/b");
  EXPECT_EQ(ResolveDiskPaths("config ubdb=a.cow:/b", "/"), "config ubdb=/a.cow:/b");
  EXPECT_EQ(ResolveDiskPaths("config ubdb=a,,SER", "/srv"), "config ubdb=/srv/a,,SER");
  EXPECT_EQ(ResolveDiskPaths("config ubdb", "/srv"), "config ubdb");
  EXPECT_EQ(ResolveDiskPaths("config ubdbr=volume:data", "/srv"), "config ubdbr=volume:data");
  EXPECT_EQ(ResolveDiskPaths("config ubdb=modules:", "/srv"), "config ubdb=modules:");
  EXPECT_EQ(ResolveDiskPaths("config con1=pts", "/srv"), "config con1=pts");
}

}  // namespace
}  // namespace umld
