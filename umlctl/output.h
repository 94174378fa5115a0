#ifndef UMLD_UMLCTL_OUTPUT_H_
#define UMLD_UMLCTL_OUTPUT_H_

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"
#include "umlctl/resource_name.h"
#include "umlctl/table.h"
#include "umld/v1/resources.pb.h"

namespace umld::umlctl {

enum class Format { kTable, kWide, kJson, kYaml, kName };

// -o and --no-headers.
struct OutputOptions {
  Format format = Format::kTable;
  bool headers = true;

  bool ForPrograms() const { return format == Format::kJson || format == Format::kYaml; }
};

// JSON: protobuf's, with the fields' names of the .proto, all of them, and 64-bit numbers as numbers. One message is an
// object, several are an array. YAML: the same tree. `format` is kJson or kYaml.
void PrintMessage(const google::protobuf::Message& message, Format format, std::ostream& out);
void PrintMessages(const std::vector<const google::protobuf::Message*>& messages, Format format, std::ostream& out);
// For streams: JSON on one line, YAML as a document of its own.
void PrintStreamed(const google::protobuf::Message& message, Format format, std::ostream& out);

// One column of a list of T.
template <typename T>
struct Column {
  std::string header;
  std::function<std::string(const T&)> cell;
  bool wide_only = false;
};

// A list in whichever format was asked for; T has a name().
template <typename T, typename Items>
void PrintList(const Items& items, const std::vector<Column<T>>& columns, const OutputOptions& options,
               std::ostream& out) {
  if (options.ForPrograms()) {
    std::vector<const google::protobuf::Message*> messages;
    for (const T& item : items) messages.push_back(&item);
    PrintMessages(messages, options.format, out);
    return;
  }
  if (options.format == Format::kName) {
    for (const T& item : items) out << ShortName(item.name()) << "\n";
    return;
  }
  const auto shown = [&options](const Column<T>& column) {
    return !column.wide_only || options.format == Format::kWide;
  };
  std::vector<std::string> headers;
  for (const Column<T>& column : columns) {
    if (shown(column)) headers.push_back(column.header);
  }
  Table table(headers);
  for (const T& item : items) {
    std::vector<std::string> cells;
    for (const Column<T>& column : columns) {
      if (shown(column)) cells.push_back(column.cell(item));
    }
    table.Add(std::move(cells));
  }
  table.Print(out, options.headers);
}

// "RUNNING", without a prefix; a number for a state newer than this program.
std::string StateText(v1::GuestState state);
// In local time, "2024-05-01 12:00:00"; "" for one that is not set.
std::string TimeText(const google::protobuf::Timestamp& time);
// Since then, for people: "3m12s".
std::string AgeText(const google::protobuf::Timestamp& time);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_OUTPUT_H_
