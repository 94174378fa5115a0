#ifndef UMLD_VMCORE_E2E_RIG_H_
#define UMLD_VMCORE_E2E_RIG_H_

#include <sys/types.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/process.h"
#include "base/unique_fd.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// For tests: one end of the private protocol, blocking.
class RigClient {
 public:
  explicit RigClient(UniqueFd fd) : fd_(std::move(fd)) {}

  // Sends Hello and waits for the answer.
  v1::Reply Hello();
  // Sends a request and waits for its reply; events and console data that come in between are kept. A lost connection
  // or 30 s without a reply is a test failure, and gives a reply with an error.
  v1::Reply Ask(const v1::Request& request);
  void Send(const v1::Frame& frame);
  // The next frame that is no reply; nullopt: none within `timeout`, or the connection is lost.
  std::optional<v1::Frame> Next(std::chrono::milliseconds timeout);
  // Waits until an event fits; the last one that did.
  std::optional<v1::Event> WaitForEvent(const std::function<bool(const v1::Event&)>& fits,
                                        std::chrono::milliseconds timeout);
  bool WaitForState(v1::State state, std::chrono::milliseconds timeout = std::chrono::seconds(30));
  std::optional<v1::Exit> WaitForExit(std::chrono::milliseconds timeout = std::chrono::seconds(40));
  bool connected() const { return fd_.ok(); }
  int fd() const { return fd_.get(); }

 private:
  std::optional<v1::Frame> Receive(std::chrono::milliseconds timeout);

  UniqueFd fd_;
  uint64_t next_id_ = 1;
  std::deque<v1::Frame> kept_;
};

// A viewer of one console, for scripts: types, and waits for words.
class RigConsole {
 public:
  RigConsole(UniqueFd fd, const std::string& console, bool read_only = false, uint32_t history_bytes = 1 << 20,
             bool take_over = false);

  void Type(absl::string_view text);
  // Reads until `words` have come; false: not within `timeout`. What came before is forgotten.
  bool Expect(absl::string_view words, std::chrono::milliseconds timeout = std::chrono::seconds(30));
  // Takes what comes for so long.
  void Read(std::chrono::milliseconds time);

  const std::string& seen() const { return seen_; }
  const std::vector<std::string>& notices() const { return notices_; }
  uint64_t lost_bytes() const { return lost_bytes_; }
  bool eof() const { return eof_; }
  bool writer() const { return writer_; }
  RigClient& client() { return client_; }

 private:
  bool Take(const v1::Frame& frame);

  RigClient client_;
  std::string seen_;
  std::vector<std::string> notices_;
  uint64_t lost_bytes_ = 0;
  bool eof_ = false;
  bool writer_ = false;
};

// A folder of its own with a guest's image, and the vmcore of that guest. Its end fails the test when a process of the
// guest is left.
class Rig {
 public:
  Rig();
  ~Rig();
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  // A guest with a busybox root on ubda (read-only), a shell on con1, and 64 MiB.
  v1::Launch NewLaunch() const;
  // Starts vmcore, as `uid` when it is not 0, and says hello.
  void Start(v1::Launch launch, uid_t uid = 0);
  // The connection that vmcore was started with.
  RigClient& control() { return *control_; }
  void CloseControl() { control_.reset(); }
  // A new one through vmcore.sock.
  UniqueFd Connect();
  RigConsole OpenConsole(const std::string& name, bool read_only = false);
  // Start, and wait until the guest's shell answers.
  void Boot();

  const std::string& folder() const { return folder_; }
  std::string run_dir() const { return folder_ + "/run"; }
  pid_t vmcore() const { return child_.pid; }
  // False: it is still there.
  bool WaitForVmcore(std::chrono::milliseconds timeout = std::chrono::seconds(10));
  int vmcore_status() const { return status_; }
  std::optional<v1::Exit> ReadExit() const;
  // Living processes that belong to this rig, by working directory, command line or environment.
  std::vector<pid_t> Processes() const;
  // True once there are none but vmcore; waits a little.
  bool NothingLeft(std::chrono::milliseconds timeout = std::chrono::seconds(5)) const;
  // The proof of life that vmcore was given is gone.
  bool LockIsFree() const;
  // A file in the rig's folder.
  std::string MakeFile(const std::string& name, size_t bytes) const;

 private:
  std::string folder_;
  Child child_;
  bool reaped_ = false;
  int status_ = 0;
  std::unique_ptr<RigClient> control_;
};

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_E2E_RIG_H_
