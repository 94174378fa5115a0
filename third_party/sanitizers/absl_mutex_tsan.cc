// For --config=tsan alone. The thread sanitizer sees no lock in the system's libabsl_synchronization, which is built
// without it, and would take every use of an absl::Mutex for a race. These stand before the library's functions, do
// what those do, and tell the sanitizer who comes after whom. What the library does for a lock (it keeps a graph of who
// was locked while who was held) the sanitizer ignores. So it does gRPC's locks: our threads all come by them, and
// would be in an order that nothing of ours makes, which hides races (what gRPC does promise is in grpc_tsan.cc). Await
// looks again and again, so that a condition is evaluated by the thread that waits and by no other.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

// What gRPC's threads have done until they left a lock is released here, for whoever takes a result of a call of ours
// (grpc_tsan.cc).
char tsan_library_unlocks;

// The linker's, around the code of the program itself.
extern "C" const char __executable_start, etext;  // NOLINT(bugprone-reserved-identifier)

namespace {

bool IsOurs(const void* code) { return code >= &__executable_start && code < &etext; }

template <typename Function>
Function* Next(const char* name) {
  void* const found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

constexpr useconds_t kLookAgain = 500;
constexpr unsigned kWrite = 0, kRead = __tsan_mutex_read_lock;

// What the library does for a mutex of others.
template <typename Work>
auto Unseen(Work work) {
  struct Ignored {
    Ignored() { __tsan_mutex_pre_signal(this, 0); }
    ~Ignored() { __tsan_mutex_post_signal(this, 0); }
  } ignored;
  return work();
}

// The library's function that locks `mutex`, with what the sanitizer has to know. `caller`: where it was called.
void LockBy(void (*next)(absl::Mutex*), absl::Mutex* mutex, unsigned how, const void* caller) {
  if (!IsOurs(caller)) return Unseen([&] { next(mutex); });
  __tsan_mutex_pre_lock(mutex, how);
  next(mutex);
  __tsan_mutex_post_lock(mutex, how, 0);
}

bool TryLockBy(bool (*next)(absl::Mutex*), absl::Mutex* mutex, unsigned how, const void* caller) {
  if (!IsOurs(caller)) return Unseen([&] { return next(mutex); });
  __tsan_mutex_pre_lock(mutex, how | __tsan_mutex_try_lock);
  const bool locked = next(mutex);
  __tsan_mutex_post_lock(mutex, how | (locked ? __tsan_mutex_try_lock : __tsan_mutex_try_lock_failed), 0);
  return locked;
}

void UnlockBy(void (*next)(absl::Mutex*), absl::Mutex* mutex, unsigned how, const void* caller) {
  if (!IsOurs(caller)) {
    __tsan_release(&tsan_library_unlocks);
    return Unseen([&] { next(mutex); });
  }
  __tsan_mutex_pre_unlock(mutex, how);
  next(mutex);
  __tsan_mutex_post_unlock(mutex, how);
}

// A wait on a condition variable leaves the mutex and takes it again. `wait` is the library's.
template <typename Wait>
bool WaitBy(absl::Mutex* mutex, Wait wait, const void* caller) {
  if (!IsOurs(caller)) return Unseen(wait);
  __tsan_mutex_pre_unlock(mutex, kWrite);
  __tsan_mutex_post_unlock(mutex, kWrite);
  __tsan_mutex_pre_lock(mutex, kWrite);
  const bool timed_out = wait();
  __tsan_mutex_post_lock(mutex, kWrite, 0);
  return timed_out;
}

// By whoever holds it for writing: nobody awaits as a reader here. The library's own function with a timeout goes on to
// the one with a deadline, and would come by here for us.
bool AwaitUntil(absl::Mutex* mutex, const absl::Condition& condition, absl::Time deadline, const void* caller) {
  static auto* const next = Next<bool(absl::Mutex*, const absl::Condition&, absl::Time)>(
      "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  if (!IsOurs(caller)) return Unseen([&] { return next(mutex, condition, deadline); });
  while (!condition.Eval()) {
    if (absl::Now() >= deadline) return false;
    mutex->Unlock();
    usleep(kLookAgain);
    mutex->Lock();
  }
  return true;
}

bool WaitUntil(absl::CondVar* changed, absl::Mutex* mutex, absl::Time deadline, const void* caller) {
  static auto* const next = Next<bool(absl::CondVar*, absl::Mutex*, absl::Time)>(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return WaitBy(
      mutex, [&] { return next(changed, mutex, deadline); }, caller);
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35MutexD1Ev");
  Unseen([&] { next(this); });
  if (IsOurs(__builtin_return_address(0))) __tsan_mutex_destroy(this, 0);
}

void Mutex::Lock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  LockBy(next, this, kWrite, __builtin_return_address(0));
}

void Mutex::Unlock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  UnlockBy(next, this, kWrite, __builtin_return_address(0));
}

bool Mutex::TryLock() {
  static auto* const next = Next<bool(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  return TryLockBy(next, this, kWrite, __builtin_return_address(0));
}

void Mutex::ReaderLock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex10ReaderLockEv");
  LockBy(next, this, kRead, __builtin_return_address(0));
}

void Mutex::ReaderUnlock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  UnlockBy(next, this, kRead, __builtin_return_address(0));
}

bool Mutex::ReaderTryLock() {
  static auto* const next = Next<bool(Mutex*)>("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  return TryLockBy(next, this, kRead, __builtin_return_address(0));
}

void Mutex::Await(const Condition& condition) {
  AwaitUntil(this, condition, InfiniteFuture(), __builtin_return_address(0));
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  return AwaitUntil(this, condition, deadline, __builtin_return_address(0));
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitUntil(this, condition, Now() + timeout, __builtin_return_address(0));
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const next = Next<void(CondVar*, Mutex*)>("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  const auto wait = [&] {
    next(this, mutex);
    return false;
  };
  WaitBy(mutex, wait, __builtin_return_address(0));
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  return WaitUntil(this, mutex, deadline, __builtin_return_address(0));
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  return WaitUntil(this, mutex, Now() + timeout, __builtin_return_address(0));
}

// The only one of the locks in a scope that is not in the header. Its mutex is its only member.
void ReleasableMutexLock::Release() {
  static auto* const next = Next<void(ReleasableMutexLock*)>("_ZN4absl7debian319ReleasableMutexLock7ReleaseEv");
  if (!IsOurs(__builtin_return_address(0))) return next(this);
  mu_->Unlock();
  mu_ = nullptr;
}

// Nobody of ours calls Mutex::LockWhen and its kin, which stay the library's.

// These two are seen by their mutex only when somebody has to wait, and by an atomic of the library's when not.
void Notification::Notify() {
  static auto* const next = Next<void(Notification*)>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  next(this);
}

void Notification::WaitForNotification() const { WaitForNotificationWithDeadline(InfiniteFuture()); }

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  return WaitForNotificationWithDeadline(Now() + timeout);
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* const next = Next<bool(const Notification*, Time)>(
      "_ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_4TimeE");
  const bool notified = next(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool BlockingCounter::DecrementCount() {
  static auto* const next = Next<bool(BlockingCounter*)>("_ZN4absl7debian315BlockingCounter14DecrementCountEv");
  __tsan_release(this);
  return next(this);
}

void BlockingCounter::Wait() {
  static auto* const next = Next<void(BlockingCounter*)>("_ZN4absl7debian315BlockingCounter4WaitEv");
  next(this);
  __tsan_acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl
