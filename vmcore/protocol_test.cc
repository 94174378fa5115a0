#include "vmcore/protocol.h"

#include <string>

#include "base/packet_socket.h"
#include "base/status.h"
#include "base/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::vmcore {
namespace {

using testing::StartsWith;

TEST(ProtocolTest, AnErrorArrivesAsItWas) {
  const absl::Status status = MakeError(absl::StatusCode::kNotFound, "what", {"REASON", "subject", "hint"});
  const absl::Status back = FromWireError(ToWireError(status));
  EXPECT_EQ(back.code(), status.code());
  EXPECT_EQ(back.message(), status.message());
  EXPECT_EQ(GetErrorDetail(back).reason, "REASON");
  EXPECT_EQ(GetErrorDetail(back).subject, "subject");
  EXPECT_EQ(GetErrorDetail(back).hint, "hint");
}

// A kernel's answer may have a megabyte.
TEST(ProtocolTest, TheLongestErrorsFitIntoAPacket) {
  for (const std::string piece : {"x", "\u00e4", "\u20ac"}) {
    std::string text;
    while (text.size() < (1U << 20U)) text += piece;
    v1::Frame frame;
    *frame.mutable_reply()->mutable_error() =
        ToWireError(MakeError(absl::StatusCode::kInternal, "says: " + text, {"REASON", text, text}));
    EXPECT_LT(EncodeFrame(frame).size(), kMaxPacketBytes);
    const std::string& message = frame.reply().error().message();
    EXPECT_THAT(message, StartsWith("says: " + text.substr(0, 6)));
    EXPECT_TRUE(IsUtf8(message)) << "cut within a character";
    EXPECT_TRUE(DecodeFrame(EncodeFrame(frame)).ok());
  }
}

}  // namespace
}  // namespace umld::vmcore
