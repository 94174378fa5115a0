#ifndef UMLD_UMLD_MCONSOLE_BRIDGE_H_
#define UMLD_UMLD_MCONSOLE_BRIDGE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/guests.h"

namespace umld {

// Gives each running guest the socket that the stock `uml_mconsole UMID` expects, DIR/UMID/mconsole, and turns each
// command into what the API would do, so that a plug made with the old tool is checked and persisted like any other.
// Beside it lies DIR/UMID/pid with vmcore's pid: a UML kernel started by hand under the same umid sees that it is
// taken, and `uml_mconsole UMID int` stops the guest in order.
// Thread: made and destroyed on any; works on the loop's.
class MconsoleBridge {
 public:
  // All outlive it. `folder`: see DaemonConfig::mconsole_dir.
  MconsoleBridge(std::string folder, EventLoop* loop, EventLog* events, GuestTable* table, Guests* guests);
  ~MconsoleBridge();

  // Offers what runs now, and follows what happens.
  void Begin();
  // Takes all sockets away. Not on the loop's thread.
  void End();

 private:
  // One guest's socket, by its id.
  struct Entry {
    std::string umid;
    int supervisor_pid = 0;
    std::shared_ptr<UniqueFd> socket;
  };

  void Reconcile();
  void Offer(const GuestView& view);
  void Withdraw(uint64_t id);
  void OnRequest(uint64_t id);
  void RemoveEntry(const std::string& umid);
  std::string GuestFolder(const std::string& umid) const;

  const std::string folder_;
  EventLoop* const loop_;
  EventLog* const events_;
  GuestTable* const table_;
  Guests* const guests_;
  uint64_t listener_ = 0;
  std::atomic<bool> pending_ = false;  // a Reconcile is on its way
  std::map<uint64_t, Entry> entries_;  // the loop's thread alone
};

}  // namespace umld

#endif  // UMLD_UMLD_MCONSOLE_BRIDGE_H_
