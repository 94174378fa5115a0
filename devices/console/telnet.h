#ifndef UMLD_DEVICES_CONSOLE_TELNET_H_
#define UMLD_DEVICES_CONSOLE_TELNET_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace umld::devices {

// The server's side of one telnet connection (RFC 854, 857, 858, 1073): a terminal in character mode whose echo is the
// guest's. A client that never answers in telnet (nc) gets and sends plain bytes. Pure.
class Telnet {
 public:
  // What opens a connection: the server echoes, no go-ahead, tell me the size of the window.
  static absl::string_view Greeting();

  // Reads what the client sent, in pieces of any size. Adds to `input` what was typed and to `reply` what is to be sent
  // back.
  void Receive(absl::string_view bytes, std::string* input, std::string* reply);

  // Output as this client is to be sent it.
  std::string Encode(absl::string_view output) const;

  // The client's window, once it has told it; 0: it has not. Since the last call of TakeSize.
  bool TakeSize(uint16_t* rows, uint16_t* columns);

 private:
  enum class State { kData, kCarriageReturn, kCommand, kOption, kSubnegotiation, kSubnegotiationCommand };

  void Option(uint8_t verb, uint8_t option, std::string* reply);
  void EndSubnegotiation();

  State state_ = State::kData;
  bool speaks_telnet_ = false;
  uint8_t verb_ = 0;
  std::string subnegotiation_;  // cut at a size that no option we know exceeds
  uint16_t rows_ = 0, columns_ = 0;
  bool new_size_ = false;
};

}  // namespace umld::devices

#endif  // UMLD_DEVICES_CONSOLE_TELNET_H_
