#include "umlctl/address.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

bool Nothing(const std::string&) { return false; }
bool Everything(const std::string&) { return true; }

TEST(Address, FlagBeatsEnvironmentBeatsDefaults) {
  AddressSources sources{"unix:/a.sock", "/b.sock", "/run/user/7", 7};
  EXPECT_EQ(*ResolveAddress(sources, Everything), "/a.sock");
  sources.flag = "";
  EXPECT_EQ(*ResolveAddress(sources, Everything), "/b.sock");
  sources.environment = "";
  EXPECT_EQ(*ResolveAddress(sources, Everything), kSystemSocket);
  EXPECT_EQ(*ResolveAddress(sources, Nothing), "/run/user/7/umld/umld.sock");
  sources.runtime_dir = "";
  EXPECT_EQ(*ResolveAddress(sources, Nothing), "/tmp/umld-7/umld.sock");
}

TEST(Address, RootAlwaysMeansTheSystemDaemon) {
  EXPECT_EQ(*ResolveAddress({"", "", "/run/user/0", 0}, Nothing), kSystemSocket);
}

TEST(Address, Spellings) {
  // The folder that the test runs in may be too deep for a socket's path.
  ASSERT_EQ(chdir("/"), 0);
  EXPECT_EQ(*ResolveAddress({"unix:///a.sock", "", "", 0}, Nothing), "/a.sock");
  EXPECT_EQ((*ResolveAddress({"here.sock", "", "", 0}, Nothing))[0], '/');
  for (const std::string& wrong : {std::string("unix:"), std::string("localhost:9000"), "/" + std::string(200, 'x')}) {
    EXPECT_EQ(ResolveAddress({wrong, "", "", 0}, Nothing).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
}

TEST(ConnectSocket, SaysWhy) {
  const std::string path = absl::StrCat("/tmp/umlctl_address_test.", getpid(), ".sock");
  unlink(path.c_str());
  absl::Status status = ConnectSocket(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(GetErrorDetail(status).reason, kDaemonUnreachable);
  EXPECT_NE(status.message().find("no such socket"), absl::string_view::npos) << status;
  EXPECT_NE(GetErrorDetail(status).hint.find("umld &"), std::string::npos);

  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  status = ConnectSocket(path).status();
  EXPECT_NE(status.message().find("refused"), absl::string_view::npos) << status;
  ASSERT_EQ(listen(fd.get(), 1), 0);
  EXPECT_TRUE(ConnectSocket(path).ok());
  unlink(path.c_str());
}

}  // namespace
}  // namespace umld::umlctl
