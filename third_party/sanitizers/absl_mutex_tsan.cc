// For --config=tsan alone. The thread sanitizer sees no lock in the system's libabsl_synchronization, which is built
// without it, and would take every use of an absl::Mutex for a race. These stand before the library's functions, in our
// programs and in the libraries that they load (gRPC), do what those do, and tell the sanitizer who comes after whom.
// What the library does for a lock (it keeps a graph of who was locked while who was held) the sanitizer ignores.
// Await looks again and again, so that a condition is evaluated by the thread that waits and by no other.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

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

// The library's function that locks `mutex`, with what the sanitizer has to know.
template <typename Mutex>
void LockBy(void (*next)(Mutex*), Mutex* mutex, unsigned how) {
  __tsan_mutex_pre_lock(mutex, how);
  next(mutex);
  __tsan_mutex_post_lock(mutex, how, 0);
}

template <typename Mutex>
bool TryLockBy(bool (*next)(Mutex*), Mutex* mutex, unsigned how) {
  __tsan_mutex_pre_lock(mutex, how | __tsan_mutex_try_lock);
  const bool locked = next(mutex);
  __tsan_mutex_post_lock(mutex, how | (locked ? __tsan_mutex_try_lock : __tsan_mutex_try_lock_failed), 0);
  return locked;
}

template <typename Mutex>
void UnlockBy(void (*next)(Mutex*), Mutex* mutex, unsigned how) {
  __tsan_mutex_pre_unlock(mutex, how);
  next(mutex);
  __tsan_mutex_post_unlock(mutex, how);
}

// A wait on a condition variable leaves the mutex and takes it again. `wait` is the library's.
template <typename Mutex, typename Wait>
auto WaitBy(Mutex* mutex, Wait wait) {
  __tsan_mutex_pre_unlock(mutex, kWrite);
  __tsan_mutex_post_unlock(mutex, kWrite);
  __tsan_mutex_pre_lock(mutex, kWrite);
  const bool timed_out = wait();
  __tsan_mutex_post_lock(mutex, kWrite, 0);
  return timed_out;
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

Mutex::~Mutex() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35MutexD1Ev");
  // gRPC's are not looked at: what tells it that nobody has the mutex any longer is a count of its own.
  const bool ours = IsOurs(__builtin_return_address(0));
  __tsan_mutex_pre_signal(this, 0);  // ignored from here
  next(this);
  if (!ours) __tsan_mutex_destroy(this, 0);
  __tsan_mutex_post_signal(this, 0);
  if (ours) __tsan_mutex_destroy(this, 0);
}

void Mutex::Lock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  LockBy(next, this, kWrite);
}

void Mutex::Unlock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  UnlockBy(next, this, kWrite);
}

bool Mutex::TryLock() {
  static auto* const next = Next<bool(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  return TryLockBy(next, this, kWrite);
}

void Mutex::ReaderLock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex10ReaderLockEv");
  LockBy(next, this, kRead);
}

void Mutex::ReaderUnlock() {
  static auto* const next = Next<void(Mutex*)>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  UnlockBy(next, this, kRead);
}

bool Mutex::ReaderTryLock() {
  static auto* const next = Next<bool(Mutex*)>("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  return TryLockBy(next, this, kRead);
}

// By whoever holds it for writing: nobody awaits as a reader here.
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  while (!condition.Eval()) {
    if (Now() >= deadline) return false;
    Unlock();
    usleep(kLookAgain);
    Lock();
  }
  return true;
}

void Mutex::Await(const Condition& condition) { AwaitWithDeadline(condition, InfiniteFuture()); }

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  return AwaitWithDeadline(condition, Now() + timeout);
}

void Mutex::LockWhen(const Condition& condition) {
  Lock();
  Await(condition);
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  Lock();
  return AwaitWithDeadline(condition, deadline);
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  return LockWhenWithDeadline(condition, Now() + timeout);
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const next = Next<void(CondVar*, Mutex*)>("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  WaitBy(mutex, [&] {
    next(this, mutex);
    return false;
  });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const next =
      Next<bool(CondVar*, Mutex*, Time)>("_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return WaitBy(mutex, [&] { return next(this, mutex, deadline); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) { return WaitWithDeadline(mutex, Now() + timeout); }

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
