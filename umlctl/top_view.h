#ifndef UMLD_UMLCTL_TOP_VIEW_H_
#define UMLD_UMLCTL_TOP_VIEW_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "umld/v1/services.pb.h"

namespace umld::umlctl {

// What `umlctl top` shows: the guests' counters of two moments as rates, sorted, and the part of the list that fits.
// Thread: one. Pure but for what it remembers.
class TopView {
 public:
  enum class Sort { kName, kCpu, kMemory, kDisk, kNet };

  // The counters of now; the first ones give no rates yet.
  void Update(const v1::ListGuestStatsResponse& stats);

  void SortBy(Sort sort);
  // Moves the part that is shown by so many lines; it stays within the list.
  void Scroll(int lines) { first_ += lines; }
  void ScrollToTop() { first_ = 0; }
  void ScrollToEnd() { first_ = static_cast<int>(rows_.size()); }

  // Exactly `rows` lines of at most `columns` characters: two of summary, one of headings, then guests. Control
  // characters are made visible.
  static constexpr size_t kHeadingRow = 2;
  std::vector<std::string> Lines(size_t rows, size_t columns);

 private:
  struct Row {
    std::string name;
    std::string state;
    bool runs = false, has_rates = false;
    double cpu = 0;                                                 // percent of one processor
    double disk_read = 0, disk_write = 0, net_in = 0, net_out = 0;  // bytes a second
    uint64_t host_memory = 0, memory = 0;
    double cpu_seconds = 0;
  };

  void SortRows();

  std::map<std::string, v1::GuestStats> last_;
  std::vector<Row> rows_;
  Sort sort_ = Sort::kCpu;
  int first_ = 0;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_TOP_VIEW_H_
