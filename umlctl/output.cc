#include "umlctl/output.h"

#include <google/protobuf/util/json_util.h>
#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "umlctl/duration.h"

namespace umld::umlctl {
namespace {

// Keeps the .proto's order of fields.
using Json = nlohmann::ordered_json;
using google::protobuf::FieldDescriptor;

// Protobuf writes 64-bit numbers as strings, for JavaScript's sake; here a size is a number.
void NumbersFromStrings(const google::protobuf::Descriptor& type, Json& object);

void FixValue(const FieldDescriptor& field, Json& value) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (value.is_object()) NumbersFromStrings(*field.message_type(), value);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64 && value.is_string()) {
    if (uint64_t number = 0; absl::SimpleAtoi(value.get_ref<const std::string&>(), &number)) value = number;
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64 && value.is_string()) {
    if (int64_t number = 0; absl::SimpleAtoi(value.get_ref<const std::string&>(), &number)) value = number;
  }
}

void NumbersFromStrings(const google::protobuf::Descriptor& type, Json& object) {
  for (auto& [key, value] : object.items()) {
    const FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) continue;
    if (value.is_array()) {
      for (Json& element : value) FixValue(*field, element);
    } else {
      FixValue(*field, value);
    }
  }
}

Json ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, options).ok()) return Json::object();
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) NumbersFromStrings(*message.GetDescriptor(), json);
  return json;
}

// Guests choose some of these bytes: what is not UTF-8 is replaced instead of thrown about.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

// Whether YAML would read it as something else than this string. Cautious: quotes too much.
bool NeedsQuotes(const std::string& text) {
  static constexpr const char* kWords[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text[0]))) return text.empty() || text[0] != '/';
  if (!std::all_of(text.begin(), text.end(), [](char c) {
        return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '/' || c == '.' || c == '_' || c == '-' ||
               c == '=' || c == ',' || c == ' ';
      })) {
    return true;
  }
  if (text.back() == ' ') return true;
  const std::string lower = absl::AsciiStrToLower(text);
  return std::any_of(std::begin(kWords), std::end(kWords), [&lower](const char* word) { return lower == word; });
}

void Emit(const Json& json, YAML::Emitter& emitter) {
  if (json.is_object()) {
    if (json.empty()) emitter << YAML::Flow;
    emitter << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      emitter << YAML::Key << key << YAML::Value;
      Emit(value, emitter);
    }
    emitter << YAML::EndMap;
  } else if (json.is_array()) {
    if (json.empty()) emitter << YAML::Flow;
    emitter << YAML::BeginSeq;
    for (const Json& element : json) Emit(element, emitter);
    emitter << YAML::EndSeq;
  } else if (json.is_string()) {
    const auto& text = json.get_ref<const std::string&>();
    if (NeedsQuotes(text)) emitter << YAML::DoubleQuoted;
    emitter << text;
  } else if (json.is_boolean()) {
    emitter << json.get<bool>();
  } else if (json.is_null()) {
    emitter << YAML::Null;
  } else {
    emitter << json.dump();
  }
}

void Print(const Json& json, Format format, std::ostream& out) {
  if (format == Format::kYaml) {
    YAML::Emitter emitter;
    Emit(json, emitter);
    out << emitter.c_str() << "\n";
  } else {
    out << Dump(json, 2) << "\n";
  }
}

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

void PrintMessage(const google::protobuf::Message& message, Format format, std::ostream& out) {
  Print(ToJson(message), format, out);
}

void PrintMessages(const std::vector<const google::protobuf::Message*>& messages, Format format, std::ostream& out) {
  Json array = Json::array();
  for (const google::protobuf::Message* message : messages) array.push_back(ToJson(*message));
  Print(array, format, out);
}

void PrintStreamed(const google::protobuf::Message& message, Format format, std::ostream& out) {
  if (format == Format::kYaml) {
    out << "---\n";
    PrintMessage(message, format, out);
  } else {
    out << Dump(ToJson(message), -1) << "\n";
  }
  out.flush();
}

std::string StateText(v1::GuestState state) {
  const std::string& name = v1::GuestState_Name(state);
  return name.empty() ? std::to_string(static_cast<int>(state)) : name;
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", ToTime(time), absl::LocalTimeZone());
}

std::string AgeText(const google::protobuf::Timestamp& time) { return HumanDuration(absl::Now() - ToTime(time)); }

}  // namespace umld::umlctl
