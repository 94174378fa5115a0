// What guests use of the host, printed and live; and gdb at a guest's kernel.
#include <signal.h>

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

class Stats : public SharedHost {
 protected:
  static Json Of(const std::string& name) {
    const CommandResult result = host_->Run({"stats", name, "-o", "json"});
    EXPECT_TRUE(Ok(result));
    const Json stats = Json::parse(result.out, nullptr, /*allow_exceptions=*/false);
    return stats.is_array() && stats.size() == 1 ? stats[0] : Json();
  }
  // "1.230s"
  static double CpuSeconds(const Json& stats) { return std::stod(stats.value("cpu_time", "0s")); }
};

TEST_F(Stats, CountWhatAGuestUses) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->Create("web2"));
  // The kernel's helpers come with its drivers, after its mconsole.
  ASSERT_TRUE(WaitFor([] { return Of("web1").value("processes", 0) >= 3; }));
  const Json before = Of("web1");
  EXPECT_EQ(before["name"], "guests/web1");
  EXPECT_EQ(before["state"], "RUNNING");
  EXPECT_GT(CpuSeconds(before), 0);
  EXPECT_EQ(before["memory_bytes"], uint64_t{64} << 20);
  EXPECT_GT(before["host_memory_bytes"].get<uint64_t>(), uint64_t{5} << 20);
  EXPECT_LT(before["host_memory_bytes"].get<uint64_t>(), uint64_t{70} << 20);
  // A processor's second, 8 MiB read from a disk and 4 MiB written to it.
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 16M data.img")));
  ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubdb=data.img"})));
  ASSERT_EQ(host_
                ->RunInGuest("web1",
                             "dd if=/dev/ubdb of=/dev/null bs=1M count=8 2>/dev/null; dd if=/dev/zero of=/dev/ubdb "
                             "bs=1M count=4 seek=9 2>/dev/null; sync; timeout 1 sh -c 'while :; do :; done'; :")
                .exit_code,
            0);
  const Json after = Of("web1");
  EXPECT_GT(CpuSeconds(after), CpuSeconds(before) + 0.3) << before << after;
  const auto grown = [&](const char* field) { return after[field].get<uint64_t>() - before[field].get<uint64_t>(); };
  EXPECT_GE(grown("disk_read_bytes"), uint64_t{8} << 20);
  EXPECT_LT(grown("disk_read_bytes"), uint64_t{14} << 20);
  EXPECT_GE(grown("disk_write_bytes"), uint64_t{4} << 20);
  EXPECT_LT(grown("disk_write_bytes"), uint64_t{8} << 20);
  // All guests, in the table too; one that does not run uses nothing.
  const CommandResult table = host_->Run({"stats"});
  EXPECT_THAT(table.out, HasSubstr("DISK-READ"));
  EXPECT_THAT(table.out, HasSubstr("web1"));
  EXPECT_THAT(table.out, HasSubstr("web2"));
  EXPECT_EQ(Of("web2")["processes"], 0);
  EXPECT_EQ(CpuSeconds(Of("web2")), 0);
  EXPECT_TRUE(Refused(host_->Run({"stats", "nobody"}), kNotFound, {"nobody"}));
}

TEST_F(Stats, TopIsLiveAndGivesTheTerminalBack) {
  ASSERT_TRUE(host_->CreateAndStart("busy"));
  ASSERT_TRUE(host_->CreateAndStart("idle"));
  std::unique_ptr<Running> top = host_->RunBeside({"top", "--interval", "200ms"}, Running::On::kTerminal);
  top->Resize(30, 140);
  ASSERT_TRUE(top->ReadUntil("2 guests, 2 running")) << top->out();
  ASSERT_TRUE(top->ReadUntil("idle")) << top->out();
  // Only what differs is drawn.
  top->Write("m");
  EXPECT_TRUE(top->ReadUntil("memory; c m d n")) << top->out();
  const size_t before = top->out().size();
  top->Write("N");
  EXPECT_TRUE(top->ReadUntil([before](const std::string& out) {
    return out.find("name", before) != std::string::npos;
  })) << top->out();
  ASSERT_TRUE(Ok(host_->Run({"stop", "--now", "idle"})));
  // STOPPING, of which the end alone is drawn anew.
  EXPECT_TRUE(top->ReadUntil("STOPP")) << top->out();
  EXPECT_THAT(top->out(), Not(HasSubstr("\x1b[?1049l")));
  top->Write("q");
  EXPECT_EQ(top->Wait(), kOk) << top->out();
  EXPECT_THAT(top->out(), HasSubstr("\x1b[?1049l")) << "the terminal's own screen is not back";
  // Also when it is told to go.
  for (int number : {SIGTERM, SIGHUP}) {
    std::unique_ptr<Running> other = host_->RunBeside({"top"}, Running::On::kTerminal);
    ASSERT_TRUE(other->ReadUntil("2 guests")) << other->out();
    other->Signal(number);
    EXPECT_EQ(other->Wait(), kOk) << other->out();
    EXPECT_THAT(other->out(), HasSubstr("\x1b[?1049l")) << number;
  }
  EXPECT_TRUE(Refused(host_->Run({"top"}), kUsage, {"terminal", "umlctl stats"}));
}

TEST_F(Stats, GdbAttachesAndTheGuestGoesOn) {
  ASSERT_TRUE(host_->CreateAndStart("web1"));
  ASSERT_TRUE(host_->Create("off"));
  const std::string pid = absl::StrCat(host_->Describe("web1")["processes"]["kernel_pid"].get<int>());
  const CommandResult gdb = host_->Run({"gdb", "web1", "--", "-batch", "-ex", "info inferiors", "-ex",
                                        "info signals SIGSEGV", "-ex", "info signals SIGUSR1", "-ex", "bt"});
  ASSERT_TRUE(Ok(gdb));
  EXPECT_THAT(gdb.out, HasSubstr("process " + pid));
  EXPECT_THAT(gdb.out, HasSubstr("linux.uml"));
  EXPECT_THAT(gdb.out, testing::ContainsRegex("SIGSEGV +No\tNo\tYes"));
  EXPECT_THAT(gdb.out, testing::ContainsRegex("SIGUSR1 +No\tNo\tYes"));
  EXPECT_THAT(gdb.out, HasSubstr("#0 "));
  EXPECT_THAT(gdb.err, HasSubstr("stands still"));
  EXPECT_EQ(host_->RunInGuest("web1", "echo goes on").out, "goes on\n");
  EXPECT_TRUE(Refused(host_->Run({"gdb", "off"}), kWrongState, {"off", "not running", "umlctl start off"}));
  EXPECT_TRUE(Refused(host_->Run({"gdb", "nobody"}), kNotFound, {"nobody"}));
  Command without = host_->MakeCommand({host_->Program("umlctl"), "gdb", "web1"});
  for (std::string& variable : without.environment) {
    if (absl::StartsWith(variable, "PATH=")) variable = "PATH=/nonexistent";
  }
  EXPECT_TRUE(Refused(RunToEnd(without), kWrongState, {"no gdb", "apt-get install gdb"}));
}

}  // namespace
}  // namespace umld::tests
