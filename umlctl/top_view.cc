#include "umlctl/top_view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/byte_size.h"
#include "umlctl/output.h"
#include "umlctl/printable.h"

namespace umld::umlctl {
namespace {

double Seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + static_cast<double>(time.nanos()) / 1e9;
}
double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + static_cast<double>(duration.nanos()) / 1e9;
}

// A counter that went back belongs to another kernel.
double Rate(double before, double now, double seconds) {
  return now < before || seconds <= 0 ? 0 : (now - before) / seconds;
}

std::string Bytes(double bytes) { return HumanByteSize(static_cast<uint64_t>(bytes)); }

std::string Cut(std::string line, size_t columns) {
  if (line.size() > columns) line.resize(columns);
  return line;
}

}  // namespace

void TopView::Update(const v1::ListGuestStatsResponse& stats) {
  rows_.clear();
  std::map<std::string, v1::GuestStats> now;
  for (const v1::GuestStats& guest : stats.stats()) {
    Row row;
    row.name = PrintableLine(ShortName(guest.name()));
    row.state = StateText(guest.state());
    row.runs = guest.processes() != 0;
    row.host_memory = guest.host_memory_bytes();
    row.memory = guest.memory_bytes();
    row.cpu_seconds = Seconds(guest.cpu_time());
    const auto before = last_.find(guest.name());
    if (row.runs && before != last_.end()) {
      const v1::GuestStats& old = before->second;
      const double seconds = Seconds(guest.time()) - Seconds(old.time());
      auto rate = [seconds](uint64_t then, uint64_t later) {
        return Rate(static_cast<double>(then), static_cast<double>(later), seconds);
      };
      row.has_rates = true;
      row.cpu = 100 * Rate(Seconds(old.cpu_time()), Seconds(guest.cpu_time()), seconds);
      row.disk_read = rate(old.disk_read_bytes(), guest.disk_read_bytes());
      row.disk_write = rate(old.disk_write_bytes(), guest.disk_write_bytes());
      row.net_in = rate(old.nic_receive_bytes(), guest.nic_receive_bytes());
      row.net_out = rate(old.nic_send_bytes(), guest.nic_send_bytes());
    }
    now[guest.name()] = guest;
    rows_.push_back(std::move(row));
  }
  last_ = std::move(now);
  SortRows();
}

void TopView::SortBy(Sort sort) {
  sort_ = sort;
  SortRows();
}

void TopView::SortRows() {
  auto weight = [this](const Row& row) {
    switch (sort_) {
      case Sort::kCpu:
        return row.cpu;
      case Sort::kMemory:
        return static_cast<double>(row.host_memory);
      case Sort::kDisk:
        return row.disk_read + row.disk_write;
      case Sort::kNet:
        return row.net_in + row.net_out;
      case Sort::kName:
        break;
    }
    return 0.0;
  };
  std::sort(rows_.begin(), rows_.end(), [&weight](const Row& a, const Row& b) {
    return std::make_pair(-weight(a), a.name) < std::make_pair(-weight(b), b.name);
  });
}

std::vector<std::string> TopView::Lines(size_t rows, size_t columns) {
  std::vector<std::string> lines;
  double cpu = 0, memory = 0;
  size_t running = 0;
  for (const Row& row : rows_) {
    cpu += row.cpu;
    memory += static_cast<double>(row.host_memory);
    running += row.runs;
  }
  const size_t space = rows > kHeadingRow + 1 ? rows - kHeadingRow - 1 : 0;
  const size_t last_first = rows_.size() > space ? rows_.size() - space : 0;
  first_ = std::clamp(first_, 0, static_cast<int>(last_first));
  const auto first = static_cast<size_t>(first_);
  const size_t end = std::min(rows_.size(), first + space);
  lines.push_back(absl::StrFormat("%d guests, %d running; %.1f%% of a processor, %s of memory", rows_.size(), running,
                                  cpu, Bytes(memory)));
  static constexpr const char* kSortNames[] = {"name", "cpu", "memory", "disk", "net"};
  lines.push_back(absl::StrFormat("by %s; c m d n: sort by cpu, memory, disk, net; N: by name; q: quit%s",
                                  kSortNames[static_cast<int>(sort_)],
                                  space < rows_.size() ? absl::StrCat("; ", first + 1, "-", end) : ""));
  constexpr char kFormat[] = "%-20s %-11s %7s %9s %10s %10s %11s %11s %11s %11s";
  lines.push_back(absl::StrFormat(kFormat, "NAME", "STATE", "CPU%", "TIME", "MEMORY", "OF", "READ/s", "WRITE/s",
                                  "NET-IN/s", "NET-OUT/s"));
  for (size_t i = first; i < end; ++i) {
    const Row& row = rows_[i];
    auto rate = [&row](double value) { return row.has_rates ? Bytes(value) : std::string("-"); };
    lines.push_back(absl::StrFormat(
        kFormat, row.name, row.state, row.has_rates ? absl::StrFormat("%.1f", row.cpu) : "-",
        row.runs ? absl::StrFormat("%.1fs", row.cpu_seconds) : "-",
        row.runs ? Bytes(static_cast<double>(row.host_memory)) : "-", Bytes(static_cast<double>(row.memory)),
        rate(row.disk_read), rate(row.disk_write), rate(row.net_in), rate(row.net_out)));
  }
  lines.resize(rows);
  for (std::string& line : lines) line = Cut(std::move(line), columns);
  return lines;
}

}  // namespace umld::umlctl
