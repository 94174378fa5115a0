// The real vmcore with real UML kernels.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "vmcore/e2e_rig.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

v1::Facts GetFacts(RigClient& client) {
  v1::Request request;
  request.mutable_get_facts();
  return client.Ask(request).facts();
}

v1::Request StopRequest(bool now) {
  v1::Request request;
  request.mutable_stop()->set_skip_orderly(now);
  return request;
}

// Kilobytes that would be free if the process were gone.
int PrivateKilobytes(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/smaps_rollup"));
  int sum = 0, kilobytes = 0;
  for (std::string line; std::getline(file, line);) {
    if (sscanf(line.c_str(), "Private_Clean: %d", &kilobytes) == 1) sum += kilobytes;
    if (sscanf(line.c_str(), "Private_Dirty: %d", &kilobytes) == 1) sum += kilobytes;
  }
  return sum;
}

TEST(VmcoreE2eTest, TakesLittleMemory) {
  // Two, so that what all guests of a host share is not counted.
  Rig other, rig;
  other.Boot();
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  int vmcore = PrivateKilobytes(rig.vmcore()), init = PrivateKilobytes(facts.init().pid());
  std::printf("private memory: vmcore %d KiB, init %d KiB\n", vmcore, init);
  EXPECT_GT(vmcore, 0);
  EXPECT_LE(vmcore + init, 1536);
}

TEST(VmcoreE2eTest, BootsAndStopsOrderly) {
  Rig rig;
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  EXPECT_EQ(facts.state(), v1::STATE_RUNNING);
  EXPECT_EQ(facts.isolation(), v1::ISOLATION_PID_NAMESPACE);
  EXPECT_FALSE(rig.control().Ask(StopRequest(false)).has_error());
  auto exit = rig.control().WaitForExit();
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->kind(), v1::Exit::STOPPED) << exit->reason();
  EXPECT_EQ(exit->stop_stage(), "orderly");
  EXPECT_TRUE(rig.WaitForVmcore());
  EXPECT_EQ(rig.vmcore_status(), 0);
}

}  // namespace
}  // namespace umld::vmcore
