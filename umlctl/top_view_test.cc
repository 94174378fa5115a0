#include "umlctl/top_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace umld::umlctl {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// One guest's counters after so many seconds.
void Add(v1::ListGuestStatsResponse* stats, const std::string& name, int64_t at, int64_t cpu_ms, uint64_t memory,
         uint64_t disk, uint64_t net) {
  v1::GuestStats& guest = *stats->add_stats();
  guest.set_name("guests/" + name);
  guest.set_state(v1::RUNNING);
  guest.set_processes(4);
  guest.mutable_time()->set_seconds(at);
  guest.mutable_cpu_time()->set_seconds(cpu_ms / 1000);
  guest.mutable_cpu_time()->set_nanos(static_cast<int32_t>(cpu_ms % 1000) * 1000000);
  guest.set_host_memory_bytes(memory << 20);
  guest.set_memory_bytes(uint64_t{64} << 20);
  guest.set_disk_read_bytes(disk << 20);
  guest.set_nic_send_bytes(net << 20);
}

std::vector<std::string> Names(TopView& view, size_t rows) {
  std::vector<std::string> names;
  const std::vector<std::string> lines = view.Lines(rows, 200);
  EXPECT_EQ(lines.size(), rows);
  for (size_t i = TopView::kHeadingRow + 1; i < lines.size(); ++i) {
    if (!lines[i].empty()) names.push_back(lines[i].substr(0, lines[i].find(' ')));
  }
  return names;
}

TEST(TopViewTest, RatesAndSorting) {
  TopView view;
  v1::ListGuestStatsResponse first, second;
  Add(&first, "a", 100, 1000, 20, 0, 0);
  Add(&first, "b", 100, 5000, 30, 0, 0);
  Add(&first, "c", 100, 100, 10, 0, 0);
  view.Update(first);
  EXPECT_THAT(Names(view, 10), testing::ElementsAre("a", "b", "c"));
  EXPECT_THAT(view.Lines(10, 200)[3], HasSubstr(" - ")) << "no rates from one moment";
  Add(&second, "a", 102, 2000, 20, 8, 0);
  Add(&second, "b", 102, 5100, 30, 2, 4);
  Add(&second, "c", 102, 50, 10, 0, 8);  // another kernel: its counters began anew
  view.Update(second);
  EXPECT_THAT(Names(view, 10), testing::ElementsAre("a", "b", "c"));
  const std::vector<std::string> lines = view.Lines(10, 200);
  EXPECT_THAT(lines[0], StartsWith("3 guests, 3 running; 55.0% of a processor, 60 MiB"));
  EXPECT_THAT(lines[3], HasSubstr(" 50.0 "));
  EXPECT_THAT(lines[3], HasSubstr(" 4 MiB "));
  EXPECT_THAT(lines[5], HasSubstr(" 0.0 "));
  view.SortBy(TopView::Sort::kMemory);
  EXPECT_THAT(Names(view, 10), testing::ElementsAre("b", "a", "c"));
  view.SortBy(TopView::Sort::kNet);
  EXPECT_THAT(Names(view, 10), testing::ElementsAre("c", "b", "a"));
  view.SortBy(TopView::Sort::kDisk);
  EXPECT_THAT(Names(view, 10), testing::ElementsAre("a", "b", "c"));
}

TEST(TopViewTest, AThousandGuestsScroll) {
  TopView view;
  v1::ListGuestStatsResponse stats;
  for (int i = 0; i < 1000; ++i) Add(&stats, absl::StrCat("g", 1000 + i), 1, 0, 1, 0, 0);
  view.Update(stats);
  EXPECT_THAT(Names(view, 6), testing::ElementsAre("g1000", "g1001", "g1002"));
  view.Scroll(5);
  EXPECT_THAT(Names(view, 6), testing::ElementsAre("g1005", "g1006", "g1007"));
  EXPECT_THAT(view.Lines(6, 200)[1], HasSubstr("6-8"));
  view.Scroll(5000);
  EXPECT_THAT(Names(view, 6), testing::ElementsAre("g1997", "g1998", "g1999"));
  view.Scroll(-1);
  EXPECT_THAT(Names(view, 6), testing::ElementsAre("g1996", "g1997", "g1998"));
  view.ScrollToTop();
  EXPECT_THAT(Names(view, 4), testing::ElementsAre("g1000"));
  // A terminal that is hardly there.
  EXPECT_EQ(view.Lines(1, 3), std::vector<std::string>{"100"});
  EXPECT_EQ(view.Lines(0, 0).size(), 0U);
}

}  // namespace
}  // namespace umld::umlctl
