#ifndef UMLD_TESTS_SHARED_HOST_H_
#define UMLD_TESTS_SHARED_HOST_H_

#include "gtest/gtest.h"
#include "tests/host.h"

namespace umld::tests {

// One umld for all tests of a suite; each test begins with no guests. `host_` is up in every test. A suite whose
// SetUpTestSuite makes none is left out: it needs root.
class SharedHost : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    host_ = new Host;
    ASSERT_TRUE(host_->Start());
  }
  static void TearDownTestSuite() {
    if (host_ == nullptr) return;
    host_->Finish();
    delete host_;
    host_ = nullptr;
  }
  void SetUp() override {
    if (host_ == nullptr) GTEST_SKIP() << "needs root";
    if (!host_->IsUp()) {
      ASSERT_TRUE(host_->Start());
    }
    log_begin_ = host_->Log().size();
  }
  void TearDown() override {
    if (host_ == nullptr) return;
    if (HasFailure()) ADD_FAILURE() << "kernels that panicked:\n" << host_->Panics();
    if (host_->IsUp()) {
      EXPECT_TRUE(Ok(host_->Run({"delete", "--all", "--force"})));
      // Once more, or a guest that stays would spoil the next test too.
      if (HasFailure()) host_->Run({"delete", "--all", "--force"});
    }
    if (HasFailure()) ADD_FAILURE() << "umld's log during this test:\n" << host_->Log().substr(log_begin_);
  }

  inline static Host* host_ = nullptr;

 private:
  size_t log_begin_ = 0;
};

}  // namespace umld::tests

#endif  // UMLD_TESTS_SHARED_HOST_H_
