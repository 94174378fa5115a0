#ifndef UMLD_UMLD_API_SERVER_H_
#define UMLD_UMLD_API_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace umld {

// The listening socket of the API: what systemd passed (socket activation), else bound at `path` with mode 0600, or
// 0660 and the group when one is given. A socket file that nobody serves any more is replaced.
// kAlreadyExists SOCKET_IN_USE: another umld serves it. kNotFound: no such group.
struct ApiSocket {
  UniqueFd fd;
  std::string bound_path;  // the file to remove at the end; empty: it is systemd's
};
absl::StatusOr<ApiSocket> OpenApiSocket(const std::string& path, const std::string& group);

// gRPC over connections that this class accepts itself, on the loop: so the socket's mode, its owner and where it came
// from are ours to say.
class ApiServer {
 public:
  // Serves `services` with health and reflection. `loop` and `services` outlive it.
  static absl::StatusOr<std::unique_ptr<ApiServer>> Create(EventLoop* loop, UniqueFd listener,
                                                           const std::vector<grpc::Service*>& services);
  ~ApiServer();

  // Accepts from now on.
  void Serve();
  // No new connections; calls under way get `grace`, then are cut. Not on the loop's thread.
  void Shutdown(std::chrono::milliseconds grace);

 private:
  ApiServer(EventLoop* loop, UniqueFd listener, std::unique_ptr<grpc::Server> server);
  void Accept();

  EventLoop* const loop_;
  UniqueFd listener_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace umld

#endif  // UMLD_UMLD_API_SERVER_H_
