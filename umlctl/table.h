#ifndef UMLD_UMLCTL_TABLE_H_
#define UMLD_UMLCTL_TABLE_H_

#include <ostream>
#include <string>
#include <vector>

namespace umld::umlctl {

// Columns as wide as their longest cell, two spaces between, none at the end of a line. An empty cell prints as "-" so
// that every line has the same number of words; control characters in cells are made visible.
class Table {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}

  // As many cells as there are headers.
  void Add(std::vector<std::string> cells);
  void Print(std::ostream& out, bool with_headers) const;

 private:
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_TABLE_H_
