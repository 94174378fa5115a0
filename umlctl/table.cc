#include "umlctl/table.h"

#include <algorithm>
#include <cstddef>

#include "umlctl/printable.h"

namespace umld::umlctl {
namespace {

// Characters, not bytes: continuation bytes of UTF-8 take no place.
size_t Width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void PrintRow(const std::vector<std::string>& cells, const std::vector<size_t>& widths, std::ostream& out) {
  for (size_t i = 0; i < cells.size(); ++i) {
    out << cells[i];
    if (i + 1 < cells.size()) out << std::string(widths[i] - Width(cells[i]) + 2, ' ');
  }
  out << "\n";
}

}  // namespace

void Table::Add(std::vector<std::string> cells) {
  for (std::string& cell : cells) cell = cell.empty() ? "-" : PrintableLine(cell);
  cells.resize(headers_.size(), "-");
  rows_.push_back(std::move(cells));
}

void Table::Print(std::ostream& out, bool with_headers) const {
  std::vector<size_t> widths(headers_.size(), 0);
  for (size_t i = 0; i < headers_.size(); ++i) {
    if (with_headers) widths[i] = Width(headers_[i]);
    for (const auto& row : rows_) widths[i] = std::max(widths[i], Width(row[i]));
  }
  if (with_headers) PrintRow(headers_, widths, out);
  for (const auto& row : rows_) PrintRow(row, widths, out);
}

}  // namespace umld::umlctl
