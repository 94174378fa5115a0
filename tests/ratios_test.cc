// What must not grow slow unnoticed: ratios of two figures of the same run, with margins that only a fault exceeds. The
// measurements themselves are bench/'s.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using Ratios = SharedHost;

absl::Duration Median(std::vector<absl::Duration> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

TEST_F(Ratios, AWarmStartIsNoBoot) {
  ASSERT_TRUE(host_->Create("cold", {"--arg", "loglevel=4"}));
  ASSERT_TRUE(host_->Create("warm"));
  ASSERT_TRUE(Ok(host_->Run({"pool", "set", "--mem", "64M", "--warm", "1"})));
  const auto start = [&](const std::string& name, const std::string& kind) {
    const absl::Time begin = absl::Now();
    EXPECT_TRUE(Ok(host_->Run({"start", name})));
    const absl::Duration taken = absl::Now() - begin;
    EXPECT_EQ(host_->Describe(name)["start_kind"], kind);
    EXPECT_TRUE(Ok(host_->Run({"kill", name})));
    return taken;
  };
  std::vector<absl::Duration> cold, warm;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(WaitFor([&] {
      return host_->Run({"pool", "list"}).out.find(" 1     1 ") != std::string::npos;
    })) << host_->Run({"pool", "list"});
    cold.push_back(start("cold", "COLD"));
    warm.push_back(start("warm", "WARM"));
  }
  EXPECT_LT(Median(warm) * 2, Median(cold)) << "a tenth is usual";
  EXPECT_TRUE(Ok(host_->Run({"pool", "set", "--mem", "64M", "--warm", "0"})));
}

}  // namespace
}  // namespace umld::tests
