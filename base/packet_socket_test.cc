#include "base/packet_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace umld {
namespace {

std::string TemporaryFolder() {
  std::string folder = testing::TempDir() + "/packet.XXXXXX";
  return mkdtemp(folder.data());
}

TEST(PacketSocket, CarriesPacketsWholeByALongPath) {
  std::string folder = TemporaryFolder() + "/" + std::string(150, 'd');
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  std::string path = folder + "/vmcore.sock";
  UniqueFd listener = *ListenPackets(path);
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  UniqueFd client = *ConnectPackets(path);
  UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK));
  ASSERT_TRUE(server.ok());
  EXPECT_EQ(ReceivePacket(server.get()).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(SendPacket(client.get(), "one").ok());
  ASSERT_TRUE(SendPacket(client.get(), std::string(kMaxPacketBytes, 'x')).ok());
  EXPECT_EQ(*ReceivePacket(server.get()), "one");
  EXPECT_EQ(ReceivePacket(server.get())->size(), kMaxPacketBytes);
  client.reset();
  EXPECT_EQ(ReceivePacket(server.get()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(PacketSocket, TheLastPacketsOfAPeerThatClosesUnreadOnesAreNotLost) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
  UniqueFd here(ends[0]), there(ends[1]);
  ASSERT_TRUE(SendPacket(here.get(), "unread").ok());
  ASSERT_TRUE(SendPacket(there.get(), "one").ok());
  ASSERT_TRUE(SendPacket(there.get(), "two").ok());
  there.reset();
  EXPECT_EQ(*ReceivePacket(here.get()), "one");
  EXPECT_EQ(*ReceivePacket(here.get()), "two");
  EXPECT_EQ(ReceivePacket(here.get()).status().code(), absl::StatusCode::kUnavailable);
}

TEST(PacketSocket, ReplacesAStaleSocketButNothingElse) {
  std::string folder = TemporaryFolder();
  { UniqueFd first = *ListenPackets(folder + "/s"); }
  EXPECT_EQ(ConnectPackets(folder + "/s").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(ListenPackets(folder + "/s").ok());
  std::ofstream(folder + "/file") << "precious";
  EXPECT_EQ(ListenPackets(folder + "/file").status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(PacketSocket, AFullPeerIsToldApartFromAGoneOne) {
  auto [a, b] = *PacketPair();
  absl::Status status;
  while ((status = SendPacket(a.get(), std::string(1000, 'x'))).ok()) {
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  b.reset();
  EXPECT_EQ(SendPacket(a.get(), "x").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace umld
