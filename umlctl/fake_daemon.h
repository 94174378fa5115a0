#ifndef UMLD_UMLCTL_FAKE_DAEMON_H_
#define UMLD_UMLCTL_FAKE_DAEMON_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "umld/v1/images.pb.h"
#include "umld/v1/services.pb.h"

namespace umld::umlctl {

// A umld for the client's tests: a real gRPC server on a Unix socket that answers from a few maps. Guests have no
// kernel; a name tells what becomes of one: "crash..." crashes at its start, "slow..." starts only with Finish().
// Thread: any.
class FakeDaemon {
 public:
  // Serves on `socket_path` from the constructor on.
  explicit FakeDaemon(std::string socket_path);
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;
  ~FakeDaemon();

  // What `kill -9 umld` and its next start are: streams break, what was committed stays.
  void Down();
  void Up();

  void AddGuest(const std::string& name, v1::GuestState state);
  v1::Guest guest(const std::string& name);
  // As if it happened by itself: sets the state and tells the watchers.
  void SetState(const std::string& name, v1::GuestState state, const std::string& reason = "");
  // Ends all operations that are under way, well.
  void Finish();

  // All of the log of every console. The first to follow it stays until Down(); later ones end with what there is.
  void SetLog(const std::string& text);

  // Of the requests that came, newest last: "StartGuest guests/web1". And the request_ids of the changes.
  std::vector<std::string> calls();
  std::vector<std::string> request_ids();
  // What was typed into consoles.
  std::string console_input();

  struct State;

 private:
  class Services;

  const std::string socket_path_;
  const std::unique_ptr<State> state_;
  std::unique_ptr<Services> services_;
};

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_FAKE_DAEMON_H_
