// Kernels: what is imported is examined without running it, kept whole, and there as long as somebody needs it; and
// what an untrusted guest is refused.
#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"
#include "umld/v1/kernels.grpc.pb.h"

namespace umld::tests {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr char kDebian[] = "/usr/bin/linux.uml";

class Kernels : public SharedHost {
 protected:
  void TearDown() override {
    SharedHost::TearDown();
    if (!host_->IsUp()) return;
    host_->Run({"kernel", "default", "system"});
    for (const std::string& name : Names()) {
      if (name == "system") continue;
      EXPECT_TRUE(Ok(host_->Run({"kernel", "delete", name})));
    }
    EXPECT_THAT(Files(), IsEmpty());
  }

  static std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const Json& kernel : Json::parse(host_->Run({"kernel", "list", "-o", "json"}).out)) {
      names.push_back(std::string(kernel["name"]).substr(std::string("kernels/").size()));
    }
    return names;
  }
  static Json Kernel(const std::string& name) {
    return Json::parse(host_->Run({"kernel", "describe", name, "-o", "json"}).out);
  }
  // What lies in umld's folder of kernels.
  static std::vector<std::string> Files() {
    std::vector<std::string> files;
    std::error_code none;
    for (const auto& file : fs::directory_iterator(host_->state_dir() + "/kernels", none)) {
      files.push_back(file.path().filename());
    }
    return files;
  }
  // The program that the guest's kernel process runs.
  static std::string Runs(const std::string& guest) {
    const pid_t pid = host_->Describe(guest)["processes"]["kernel_pid"];
    return fs::read_symlink(absl::StrCat("/proc/", pid, "/exe"));
  }
};

TEST_F(Kernels, ABadFileLeavesNothing) {
  ASSERT_TRUE(
      Ok(host_->Shell("mkdir folder; mkfifo fifo; : >empty; printf '#!/bin/sh\\ntouch ran\\n' >script; "
                      "chmod +x script; head -c 100000 /usr/bin/linux.uml >cut")));
  const auto import = [](const std::string& file) { return host_->Run({"kernel", "import", "k", file}); };
  EXPECT_TRUE(Refused(import("folder"), kUsage, {"folder", "not a regular file"}));
  EXPECT_TRUE(Refused(import("fifo"), kUsage, {"fifo", "not a regular file"}));
  EXPECT_TRUE(Refused(import("empty"), kUsage, {"empty", "not an ELF program"}));
  EXPECT_TRUE(Refused(import("script"), kUsage, {"script", "not an ELF program"}));
  EXPECT_TRUE(Refused(import("cut"), kUsage, {"cut", "no table of sections"}));
  EXPECT_TRUE(Refused(import("/bin/sh"), kUsage, {"/bin/sh", ".uml.setup.init"}));
  EXPECT_TRUE(Refused(import("none"), kNotFound, {"none"}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "system", kDebian}), kUsage, {"system"}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "../k", kDebian}), kUsage, {"../k"}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "k", kDebian, "--modules", "folder"}), kUsage,
                      {"folder", "has no modules of"}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "k", kDebian, "--symbols", kDebian}), kUsage, {"stripped"}));
  EXPECT_FALSE(fs::exists(host_->Work("ran")));
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_THAT(Names(), ElementsAre("system"));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "delete", "system"}), kWrongState, {kDebian}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "delete", "k"}), kNotFound, {"k"}));
  EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--kernel", "k"}), kNotFound, {"no kernel \"k\"", "./k"}));
}

// The build itself takes minutes: fast_kernel_test.
TEST_F(Kernels, ABuildThatCannotBeLeavesNothing) {
  ASSERT_TRUE(
      Ok(host_->Shell("mkfifo fifo; head -c 100000 /dev/urandom >noise; mkdir -p linux-source-9.9; echo 'all:' "
                      ">linux-source-9.9/Makefile; tar -cJf other.tar.xz linux-source-9.9")));
  const auto build = [](const std::string& source) { return host_->Run({"kernel", "build", "--source", source}); };
  EXPECT_TRUE(Refused(build("none"), kWrongState, {"kernel fast", "none", "no such file"}));
  EXPECT_TRUE(Refused(build("fifo"), kWrongState, {"fifo", "not a file"}));
  EXPECT_TRUE(Refused(build("noise"), kWrongState, {"noise", "cannot be unpacked"}));
  EXPECT_TRUE(Refused(build("other.tar.xz"), kWrongState, {"0001-um", "does not apply"}));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "build", "system"}), kUsage, {"system"}));
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_THAT(Names(), ElementsAre("system"));
}

TEST_F(Kernels, SymbolsAreThoseOfTheKernel) {
  // A program that umld takes for a kernel, with its symbols beside it.
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("cp ", fs::absolute("tests/malicious_kernel").string(),
                                           " whole && objcopy --only-keep-debug whole kernel.debug && "
                                           "strip -o kernel whole && chmod +x kernel"))));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "k", "kernel", "--symbols", host_->Program("umld")}), kUsage,
                      {"build id"}));
  ASSERT_TRUE(Ok(host_->Run({"kernel", "import", "k", "kernel", "--symbols", "kernel.debug"})));
  const Json kernel = Kernel("k");
  EXPECT_EQ(host_->Shell(absl::StrCat("cmp kernel.debug ", std::string(kernel["symbols_path"]))).exit_code, 0);
  EXPECT_EQ(host_->Shell(absl::StrCat("readelf -n kernel | grep -q ", std::string(kernel["build_id"]))).exit_code, 0);
  EXPECT_THAT(host_->Run({"kernel", "describe", "k"}).out, HasSubstr("does not say how it was configured"));
}

TEST_F(Kernels, ImportsTwiceAndAtOnce) {
  const auto stub =
      v1::Kernels::NewStub(grpc::CreateChannel("unix:" + host_->socket(), grpc::InsecureChannelCredentials()));
  v1::ImportKernelRequest request;
  request.set_kernel_id("k");
  request.set_path(kDebian);
  request.set_request_id("the same");
  v1::Operation first, second;
  for (v1::Operation* operation : {&first, &second}) {
    grpc::ClientContext context;
    ASSERT_TRUE(stub->ImportKernel(&context, request, operation).ok());
  }
  EXPECT_EQ(first.name(), second.name());
  ASSERT_TRUE(WaitFor([] { return Names().size() == 2; }));
  EXPECT_TRUE(Refused(host_->Run({"kernel", "import", "k", kDebian}), kBusyOrExists, {"\"k\"", "already"}));

  // One file for both names, and one of two that come together.
  auto one = host_->RunBeside({"kernel", "import", "twin", kDebian});
  const CommandResult other = host_->Run({"kernel", "import", "twin", kDebian});
  EXPECT_EQ((one->Wait() == 0) + (other.exit_code == 0), 1) << other;
  EXPECT_THAT(Names(), ElementsAre("system", "k", "twin"));
  ASSERT_EQ(Files().size(), 1u);
  struct stat info = {};
  ASSERT_EQ(stat(std::string(Kernel("k")["path"]).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0555u);
  ASSERT_TRUE(Ok(host_->Run({"kernel", "delete", "k"})));
  EXPECT_EQ(host_->Shell(absl::StrCat("cmp ", kDebian, " ", std::string(Kernel("twin")["path"]))).exit_code, 0);
}

TEST_F(Kernels, GuestsFollowTheDefaultAndKeepWhatTheyRun) {
  ASSERT_TRUE(Ok(
      host_->Run({"kernel", "import", "deb", kDebian, "--modules", "/usr/lib/uml/modules", "--description", "of 12"})));
  const std::string described = host_->Run({"kernel", "describe", "deb"}).out;
  EXPECT_THAT(described, AllOf(HasSubstr("of 12"), HasSubstr("tuntap"), HasSubstr("Loadable modules"),
                               HasSubstr("/dev/mem"), HasSubstr("plug GUEST ubdc=modules:")));
  EXPECT_EQ(host_->Run({"kernel", "config", "deb"}).out,
            host_->Shell(absl::StrCat(kDebian, " --showconfig | grep CONFIG_")).out);
  const std::string path = Kernel("deb")["path"];

  EXPECT_TRUE(Refused(host_->Run({"create", "web1", "--disk", "ubdb=modules:"}), kWrongState,
                      {"kernels/system", "has no modules"}));
  ASSERT_TRUE(host_->Create("web1"));
  EXPECT_EQ(host_->Describe("web1")["kernel"], "");
  EXPECT_EQ(host_->Describe("web1")["kernel_path"], kDebian);
  ASSERT_TRUE(Ok(host_->Run({"kernel", "default", "deb"})));
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("default (deb)"));
  ASSERT_TRUE(Ok(host_->Run({"start", "web1"})));
  EXPECT_EQ(Runs("web1"), path);

  // Its modules, and one of them in the kernel.
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdc=modules:"})));
  const GuestResult loaded = host_->RunInGuest(
      "web1",
      "mount -o ro /dev/ubdc /lib/modules && modprobe loop && grep -c ^loop /proc/modules; umount /lib/modules");
  EXPECT_EQ(loaded.out, "1\n");
  const auto refused = [](const std::vector<std::string>& texts) {
    return Refused(host_->Run({"kernel", "delete", "deb"}), kWrongState, texts);
  };
  EXPECT_TRUE(refused({"deb", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"kernel", "default", "system"})));
  EXPECT_TRUE(refused({"run by guest web1", "umlctl stop web1"}));
  // A umld that starts anew knows it too, and a change of something else changes no kernel.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(refused({"run by guest web1"}));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--description", "x"})));
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1", "--now"})));
  EXPECT_EQ(Runs("web1"), path);
  EXPECT_EQ(host_->Describe("web1")["kernel_in_use"], "kernels/deb");
  ASSERT_TRUE(Ok(host_->Run({"kill", "web1"})));
  EXPECT_EQ(host_->Describe("web1")["kernel_in_use"], "kernels/system");
  EXPECT_TRUE(refused({"modules", "web1"}));
  ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdc"})));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--kernel", "deb"})));
  EXPECT_TRUE(refused({"named by guest web1", "umlctl set"}));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--kernel", "default"})));
  ASSERT_TRUE(Ok(host_->Run({"kernel", "delete", "deb"})));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(Kernels, ADaemonKilledInTheMiddleLeavesNothing) {
  // A kernel, and zeros that take a while.
  ASSERT_TRUE(Ok(host_->Shell(absl::StrCat("cp ", kDebian, " big && truncate -s 800M big"))));
  auto import = host_->RunBeside({"kernel", "import", "big", "big"});
  ASSERT_TRUE(WaitFor([] { return !Files().empty(); }));
  host_->Kill9();
  EXPECT_THAT(Files(), Not(IsEmpty()));
  ASSERT_TRUE(host_->Start());
  EXPECT_THAT(Files(), IsEmpty());
  EXPECT_EQ(import->Wait(), kBusyOrExists);
  EXPECT_THAT(import->err(), HasSubstr("restarted in the middle"));
  EXPECT_THAT(Names(), ElementsAre("system"));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(Kernels, UntrustedGuestsAreRefusedWhatNeedsTrust) {
  const auto create = [](const std::vector<std::string>& words) {
    std::vector<std::string> all = {"create", "web1"};
    all.insert(all.end(), words.begin(), words.end());
    return host_->Run(all);
  };
  EXPECT_TRUE(Refused(create({"--confinement", "relaxed"}), kWrongState, {"web1 is untrusted", "--trust trusted"}));
  EXPECT_TRUE(Refused(create({"--arg", "seccomp=on"}), kWrongState, {"insecure", "--trust trusted"}));
  EXPECT_TRUE(Refused(create({"--arg", "hostfs=/srv"}), kWrongState, {"hostfs=/srv", "shows the jail"}));
  EXPECT_TRUE(Refused(create({"--arg", "hostfs=/srv", "--confinement", "relaxed", "--trust", "trusted"}), kWrongState,
                      {"hostfs=/srv", "the whole host"}));
  ASSERT_TRUE(Ok(create({})));
  EXPECT_EQ(host_->Describe("web1")["trust"], "UNTRUSTED");
  EXPECT_TRUE(Refused(host_->Run({"set", "web1", "--confinement", "relaxed"}), kWrongState, {"--trust trusted"}));
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--confinement", "relaxed", "--trust", "trusted"})));
  EXPECT_TRUE(Refused(host_->Run({"set", "web1", "--trust", "untrusted"}), kWrongState, {"cannot be relaxed"}));
  EXPECT_EQ(host_->Describe("web1")["trust"], "TRUSTED");
  ASSERT_TRUE(Ok(host_->Run({"set", "web1", "--confinement", "strict", "--trust", "untrusted"})));
}

}  // namespace
}  // namespace umld::tests
