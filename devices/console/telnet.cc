#include "devices/console/telnet.h"

#include <utility>

namespace umld::devices {
namespace {

constexpr uint8_t kSubnegotiationEnd = 240;
constexpr uint8_t kAreYouThere = 246;
constexpr uint8_t kBreak = 243, kInterrupt = 244;
constexpr uint8_t kEraseCharacter = 247, kEraseLine = 248;
constexpr uint8_t kSubnegotiate = 250;
constexpr uint8_t kWill = 251, kWont = 252, kDo = 253, kDont = 254;
constexpr uint8_t kIac = 255;

constexpr uint8_t kEcho = 1, kSuppressGoAhead = 3, kWindowSize = 31;

constexpr size_t kMaxSubnegotiation = 64;
constexpr char kControlC = 3, kControlU = 21, kDelete = 127;

void Command(std::string* reply, uint8_t verb, uint8_t option) {
  for (uint8_t byte : {kIac, verb, option}) reply->push_back(static_cast<char>(byte));
}

}  // namespace

absl::string_view Telnet::Greeting() {
  static const std::string* const greeting = [] {
    auto* text = new std::string;
    Command(text, kWill, kEcho);
    Command(text, kWill, kSuppressGoAhead);
    Command(text, kDo, kWindowSize);
    return text;
  }();
  return *greeting;
}

void Telnet::Receive(absl::string_view bytes, std::string* input, std::string* reply) {
  for (char c : bytes) {
    const uint8_t byte = static_cast<uint8_t>(c);
    switch (state_) {
      case State::kCarriageReturn:
        // A telnet client sends Enter as CR NUL or CR LF; the CR has been passed on.
        state_ = State::kData;
        if (byte == '\0' || byte == '\n') break;
        [[fallthrough]];
      case State::kData:
        if (byte == kIac) {
          state_ = State::kCommand;
        } else {
          input->push_back(c);
          if (byte == '\r' && speaks_telnet_) state_ = State::kCarriageReturn;
        }
        break;
      case State::kCommand:
        state_ = State::kData;
        switch (byte) {
          case kIac:
            input->push_back(c);
            break;
          case kWill:
          case kWont:
          case kDo:
          case kDont:
            verb_ = byte;
            state_ = State::kOption;
            break;
          case kSubnegotiate:
            subnegotiation_.clear();
            state_ = State::kSubnegotiation;
            break;
          case kBreak:
          case kInterrupt:
            input->push_back(kControlC);
            break;
          case kEraseCharacter:
            input->push_back(kDelete);
            break;
          case kEraseLine:
            input->push_back(kControlU);
            break;
          case kAreYouThere:
            reply->append("\r\n[umld: yes]\r\n");
            break;
          default:
            break;
        }
        break;
      case State::kOption:
        state_ = State::kData;
        speaks_telnet_ = true;
        Option(verb_, byte, reply);
        break;
      case State::kSubnegotiation:
        if (byte == kIac) {
          state_ = State::kSubnegotiationCommand;
        } else if (subnegotiation_.size() < kMaxSubnegotiation) {
          subnegotiation_.push_back(c);
        }
        break;
      case State::kSubnegotiationCommand:
        if (byte == kIac) {
          if (subnegotiation_.size() < kMaxSubnegotiation) subnegotiation_.push_back(c);
          state_ = State::kSubnegotiation;
          break;
        }
        // What follows an IAC here and is no IAC ends it, also when it is not the SE that it should be.
        if (byte == kSubnegotiationEnd) EndSubnegotiation();
        state_ = State::kData;
        break;
    }
  }
}

// Only to what was not asked for in the greeting: an answer to an answer would go round for ever.
void Telnet::Option(uint8_t verb, uint8_t option, std::string* reply) {
  const bool ours = option == kEcho || option == kSuppressGoAhead;
  if (verb == kDo && !ours) Command(reply, kWont, option);
  if (verb != kWill) return;
  if (option == kSuppressGoAhead) {
    Command(reply, kDo, option);
  } else if (option != kWindowSize) {
    Command(reply, kDont, option);
  }
}

void Telnet::EndSubnegotiation() {
  if (subnegotiation_.size() != 5 || static_cast<uint8_t>(subnegotiation_[0]) != kWindowSize) return;
  auto number = [this](size_t at) {
    return static_cast<uint16_t>(static_cast<uint8_t>(subnegotiation_[at]) << 8 |
                                 static_cast<uint8_t>(subnegotiation_[at + 1]));
  };
  columns_ = number(1);
  rows_ = number(3);
  new_size_ = rows_ != 0 && columns_ != 0;
}

std::string Telnet::Encode(absl::string_view output) const {
  std::string encoded;
  encoded.reserve(output.size());
  for (char c : output) {
    encoded.push_back(c);
    if (speaks_telnet_ && static_cast<uint8_t>(c) == kIac) encoded.push_back(c);
  }
  return encoded;
}

bool Telnet::TakeSize(uint16_t* rows, uint16_t* columns) {
  if (!std::exchange(new_size_, false)) return false;
  *rows = rows_;
  *columns = columns_;
  return true;
}

}  // namespace umld::devices
