#ifndef UMLD_UMLD_GUEST_TABLE_H_
#define UMLD_UMLD_GUEST_TABLE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "state/rows.h"
#include "state/store.h"
#include "umld/event_log.h"
#include "umld/operations.h"
#include "umld/v1/resources.pb.h"
#include "umld/vmcore_client.h"
#include "vmcore/vmcore.pb.h"

namespace umld {

// One guest: the wishes as committed, and the facts as vmcore last told them. A copy of it is a consistent view.
struct GuestView {
  state::GuestRow row;
  // A vmcore is believed to live. False: `row.last_exit` says how the last one ended.
  bool alive = false;
  vmcore::v1::Facts facts;               // meaningful while `alive`
  std::shared_ptr<VmcoreClient> client;  // null while `alive`: it does not answer
  std::string unreachable_reason;        // not empty: UNREACHABLE
  std::string pause_reason;              // while PAUSED: not because somebody asked
  bool watched = false;                  // the end of its vmcore will be noticed
  bool deleting = false;
  uint64_t operation = 0;  // under way, 0: none
  v1::GuestState state() const;
  std::string name() const { return "guests/" + row.name; }
  // Not confined: by its row, or as it runs until its next start. True as well while its vmcore has not said.
  bool may_be_relaxed() const;
};

// The identity of a guest within this daemon; what it holds is reached through GuestTable alone.
class Guest;
using GuestPtr = std::shared_ptr<Guest>;

// All guests of this host in memory, and the one way of changing what is committed about them.
// Thread-safe. Reads never block on the disk or on a guest; Commit and Insert block on the disk.
class GuestTable {
 public:
  // `store`, `events` and `operations` outlive it.
  GuestTable(state::Store* store, EventLog* events, Operations* operations)
      : store_(store), events_(events), operations_(operations) {}

  // Takes in what the database holds, once, before anything else.
  absl::Status Load();

  // `name` is "guests/web1" or "web1". kNotFound with a hint.
  absl::StatusOr<GuestPtr> Find(absl::string_view name) const;
  // kNotFound: it has been deleted. An id is never given again.
  absl::StatusOr<GuestPtr> FindById(uint64_t id) const;
  GuestView View(const GuestPtr& guest) const;
  // The same without a copy: `look` runs with the table locked, so it is short and calls nothing of it.
  void Look(const GuestPtr& guest, const std::function<void(const GuestView&)>& look) const;
  std::vector<GuestPtr> All() const;  // by name
  // Shows guests whose names come after `after`, by name, until `look` says false or there are no more. None is copied:
  // `look` runs with the table locked, as Look's, which is let go of after every few guests; who comes or goes
  // meanwhile may or may not be seen.
  void Walk(const std::string& after, const std::function<bool(const GuestView&)>& look) const;
  // Views of at most `limit` guests whose names come after `after`.
  std::vector<GuestView> Page(const std::string& after, size_t limit) const;
  std::vector<GuestView> Views() const;

  // Commits a new guest and takes it in; `complete` fills in what depends on the id, within the transaction, which its
  // error ends. `operation` (null: none) is committed with its outcome in it, a new one or one that was begun.
  // kAlreadyExists: the name is taken.
  // `undo` (null: nothing) takes back what `complete` did to the disk when it is not committed; no other guest has been
  // given the id before it is done.
  using Complete = std::function<absl::Status(state::GuestRow&, state::Transaction&)>;
  absl::StatusOr<GuestPtr> Insert(state::GuestRow row, const Complete& complete, state::OperationRow* operation,
                                  const std::function<void()>& undo = nullptr);

  // One committed change of one guest.
  struct Change {
    // Edits a copy of the row, which becomes the row once it is committed. An error leaves all as it was.
    std::function<absl::Status(state::GuestRow&)> edit;
    // Written with it; `subject` and `guest_state` are filled in where empty.
    std::vector<state::EventRow> events;
    // Marked done with it: give the row with its outcome. Null: none.
    const state::OperationRow* finished = nullptr;
    // More of the same commit, after the row.
    std::function<absl::Status(state::Transaction&)> also;
    // Runs with the table locked in the same moment in which the row changes in memory: state and row change as one.
    std::function<void(GuestView&)> apply;
  };
  absl::Status Commit(const GuestPtr& guest, const Change& change);
  // Changes of guests, each another one, in one commit.
  absl::Status CommitAll(const std::vector<std::pair<GuestPtr, Change>>& changes);
  // Commits the removal and forgets the guest. Its name is free from then on.
  absl::Status Remove(const GuestPtr& guest, const state::OperationRow* finished);

  // Changes facts (not the row) and wakes whoever waits for this guest.
  void Update(const GuestPtr& guest, const std::function<void(GuestView&)>& change);
  // Waits until `reached` holds of the guest; false: not within `timeout`.
  bool WaitUntil(const GuestPtr& guest, absl::Duration timeout, const std::function<bool(const GuestView&)>& reached);

 private:
  state::Store* const store_;
  EventLog* const events_;
  Operations* const operations_;
  // One new guest at a time: an id whose transaction was undone is given again.
  absl::Mutex insert_mutex_;
  mutable absl::Mutex mutex_;
  std::map<std::string, GuestPtr> by_name_ ABSL_GUARDED_BY(mutex_);
};

// The guest as the API shows it; `summary` as in ListGuestsRequest. `out` is empty.
void ToProto(const GuestView& view, const std::string& state_dir, const std::string& run_dir, bool summary,
             v1::Guest* out);
v1::Disk DiskToProto(const GuestView& view, const state::DiskRow& disk, bool persistent);
// Vmcore's words for the same; the way back is FromVmcoreDisk.
vmcore::v1::Credentials ToVmcoreCredentials(const Credentials& user);
vmcore::v1::Disk ToVmcoreDisk(const state::DiskRow& row);
// Who opens the files of "guests/web1/disks/ubdb", which the guest has now or would have at its next start.
std::optional<Credentials> OpenerOf(const GuestView& view, absl::string_view disk_name);

}  // namespace umld

#endif  // UMLD_UMLD_GUEST_TABLE_H_
