#include "base/token_bucket.h"

#include <gtest/gtest.h>

namespace umld {
namespace {

using std::chrono::milliseconds;

TEST(TokenBucketTest, GivesItsBurstAndThenItsRate) {
  const TokenBucket::Clock::time_point start = TokenBucket::Clock::now();
  TokenBucket bucket(/*per_second=*/10, /*burst=*/3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(bucket.Take(1, start)) << i;
  EXPECT_FALSE(bucket.Take(1, start));
  EXPECT_FALSE(bucket.Take(1, start + milliseconds(99)));
  EXPECT_TRUE(bucket.Take(1, start + milliseconds(101)));
  EXPECT_FALSE(bucket.Take(1, start + milliseconds(102)));
}

TEST(TokenBucketTest, NeverHoldsMoreThanItsBurst) {
  const TokenBucket::Clock::time_point start = TokenBucket::Clock::now();
  TokenBucket bucket(10, 3);
  EXPECT_TRUE(bucket.Take(3, start));
  EXPECT_DOUBLE_EQ(bucket.Available(start + std::chrono::hours(1)), 3);
  EXPECT_FALSE(bucket.Take(4, start + std::chrono::hours(1)));
  EXPECT_TRUE(bucket.Take(3, start + std::chrono::hours(1))) << "a refusal takes nothing";
}

TEST(TokenBucketTest, AClockThatStandsStillGivesNothing) {
  const TokenBucket::Clock::time_point start = TokenBucket::Clock::now();
  TokenBucket bucket(10, 1);
  EXPECT_TRUE(bucket.Take(1, start));
  EXPECT_FALSE(bucket.Take(1, start - milliseconds(500)));
  EXPECT_FALSE(bucket.Take(1, start));
}

}  // namespace
}  // namespace umld
