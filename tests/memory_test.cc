// A guest's memory as a balloon: taken and given back while it runs, seen from inside, from the host, and by the old
// tool.
#include <grpcpp/create_channel.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <random>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"
#include "umld/v1/services.grpc.pb.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

class Memory : public SharedHost {
 protected:
  static bool Start(const char* memory) {
    return host_->Create("web1") && Ok(host_->Run({"set", "web1", "--mem", memory})) &&
           Ok(host_->Run({"start", "web1"}));
  }
  // What the guest has free, in MiB, by its own word.
  static int64_t FreeInside() {
    const GuestResult result = host_->RunInGuest("web1", "awk '/^MemFree/ {print int($2 / 1024)}' /proc/meminfo");
    int64_t mib = -1;
    EXPECT_TRUE(absl::SimpleAtoi(result.out, &mib)) << result.out;
    return mib;
  }
  static int64_t Lent() { return host_->Describe("web1").value("lent_memory_bytes", int64_t{0}) / kMiB; }
  static int64_t OnHost() {
    const Json guest = Json::parse(host_->Run({"describe", "web1", "-o", "json"}).out);
    return guest.value("host_memory_bytes", int64_t{0}) / kMiB;
  }
  static CommandResult Plug(const std::string& change) { return host_->Run({"plug", "web1", "mem=" + change}); }
};

TEST_F(Memory, IsTakenAndGivenBack) {
  ASSERT_TRUE(Start("160M"));
  // Memory that was used once is host memory for good, until it is taken.
  ASSERT_EQ(
      host_
          ->RunInGuest("web1",
                       "mount -t tmpfs -o size=120m none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=90 && umount "
                       "/mnt")
          .exit_code,
      0);
  const int64_t free_before = FreeInside(), host_before = OnHost();
  EXPECT_GT(host_before, 90);
  EXPECT_LT(host_before, 160);
  const CommandResult taken = Plug("-80M");
  ASSERT_TRUE(Ok(taken)) << host_->Log();
  EXPECT_EQ(taken.out, "web1: plugged mem=-80M\n");
  EXPECT_EQ(Lent(), 80);
  EXPECT_NEAR(static_cast<double>(free_before - FreeInside()), 80, 8);
  EXPECT_LT(OnHost(), host_before - 40) << "the host has it back";
  EXPECT_THAT(host_->Run({"describe", "web1"}).out, HasSubstr("160 MiB, 80 MiB of it lent to the host"));
  ASSERT_TRUE(Ok(Plug("+50M")));
  EXPECT_EQ(Lent(), 30);
  EXPECT_NEAR(static_cast<double>(free_before - FreeInside()), 30, 8);
  // The old tool takes the same way.
  EXPECT_THAT(host_->UmlMconsole({"web1", "config", "mem=-10M"}).out, HasSubstr("OK"));
  EXPECT_EQ(Lent(), 40);
  // umld's successor knows of it; the next kernel has everything.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_EQ(Lent(), 40);
  ASSERT_TRUE(Ok(host_->Run({"reboot", "web1"})));
  EXPECT_EQ(Lent(), 0);
  EXPECT_GT(FreeInside(), 100);
}

TEST_F(Memory, IsNeverTakenBelowWhatTheGuestNeeds) {
  ASSERT_TRUE(Start("96M"));
  EXPECT_TRUE(Refused(Plug("-80M"), kWrongState, {"web1", "96M", "32M"}));
  // Within the limits, but in use: tmpfs cannot be dropped.
  ASSERT_EQ(
      host_->RunInGuest("web1", "mount -t tmpfs -o size=60m none /mnt && dd if=/dev/zero of=/mnt/x bs=1M count=40")
          .exit_code,
      0);
  EXPECT_TRUE(Refused(Plug("-60M"), kWrongState, {"web1", "memory", "could be freed"}));
  EXPECT_EQ(Lent(), 0);
  EXPECT_EQ(host_->RunInGuest("web1", "wc -c < /mnt/x").out, absl::StrCat(40 * kMiB, "\n"));
}

TEST_F(Memory, ARetryChangesItOnce) {
  ASSERT_TRUE(Start("160M"));
  auto plug = [](const char* spec, const char* request_id) {
    // A connection of its own, so that a restart of umld between two calls is no matter.
    const auto channel = grpc::CreateChannel("unix:" + host_->socket(), grpc::InsecureChannelCredentials());
    const auto guests = v1::Guests::NewStub(channel);
    v1::PlugDeviceRequest request;
    request.set_guest("guests/web1");
    request.set_spec(spec);
    request.set_request_id(request_id);
    grpc::ClientContext context;
    v1::Device device;
    grpc::Status status = guests->PlugDevice(&context, request, &device);
    EXPECT_EQ(device.spec(), status.ok() ? std::string(spec).substr(4) : "");
    return status;
  };
  EXPECT_TRUE(plug("mem=-20M", "take").ok());
  EXPECT_TRUE(plug("mem=-20M", "take").ok());
  EXPECT_EQ(Lent(), 20);
  EXPECT_TRUE(plug("mem=+5M", "give").ok());
  EXPECT_TRUE(plug("mem=+5M", "give").ok());
  EXPECT_EQ(Lent(), 15);
  EXPECT_EQ(plug("mem=+40M", "refused").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(plug("mem=-40M", "more").ok());
  EXPECT_EQ(plug("mem=+40M", "refused").error_code(), grpc::StatusCode::FAILED_PRECONDITION)
      << "the first answer holds";
  EXPECT_EQ(Lent(), 55);
  // Also when it is the next umld that is asked again.
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  EXPECT_TRUE(plug("mem=-40M", "more").ok());
  EXPECT_EQ(Lent(), 55);
}

TEST_F(Memory, AChangeUnderWayIsFinishedOrUndone) {
  ASSERT_TRUE(Start("160M"));
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 8; ++round) {
    const int64_t before = Lent();
    const bool takes = before == 0;
    std::unique_ptr<Running> change = host_->RunBeside({"plug", "web1", takes ? "mem=-60M" : "mem=+60M"});
    absl::SleepFor(absl::Milliseconds(random() % 40));
    host_->Kill9();
    ASSERT_TRUE(host_->Start());
    const std::optional<int> exit_code = change->Wait();
    ASSERT_TRUE(exit_code.has_value()) << "umlctl does not come back";
    SCOPED_TRACE(absl::StrCat("round ", round, ", umlctl's exit code ", *exit_code, "\n", change->err()));
    EXPECT_EQ(Lent(), *exit_code == 0 ? 60 - before : before);
    EXPECT_EQ(host_->Run({"operations", "list", "--unfinished", "-o", "name"}).out, "");
  }
}

TEST_F(Memory, WhatIsNoChange) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  for (const char* change : {"64M", "", "-", "+0", "-1000G", "-4097", "-lots", "*2"}) {
    EXPECT_TRUE(Refused(Plug(change), kUsage, {"mem="})) << change;
  }
  EXPECT_TRUE(Refused(Plug("+4M"), kWrongState, {"web1", "only what was taken"}));
  EXPECT_TRUE(Refused(host_->Run({"plug", "nobody", "mem=-4M"}), kNotFound, {"nobody"}));
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "web1"})));
  EXPECT_TRUE(Refused(Plug("-4M"), kWrongState, {"web1", "not running"}));
}

}  // namespace
}  // namespace umld::tests
