// Which sanitizer the tests run under: GCC and Clang tell it in different ways.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SKERRY_TEST_TSAN 1
#endif
#if __has_feature(address_sanitizer)
#define SKERRY_TEST_ASAN 1
#endif
#endif
#if !defined(SKERRY_TEST_TSAN) && defined(__SANITIZE_THREAD__)
#define SKERRY_TEST_TSAN 1
#endif
#if !defined(SKERRY_TEST_ASAN) && defined(__SANITIZE_ADDRESS__)
#define SKERRY_TEST_ASAN 1
#endif
#if !defined(SKERRY_TEST_TSAN)
#define SKERRY_TEST_TSAN 0
#endif
#if !defined(SKERRY_TEST_ASAN)
#define SKERRY_TEST_ASAN 0
#endif

/// A child of a process with threads can be used: TSan cannot follow it, and in the child ASan's
/// malloc waits for ever for a lock that another thread held at the fork (LLVM 14, GCC 12).
#define SKERRY_TEST_FORKS_WITH_THREADS (!SKERRY_TEST_TSAN && !SKERRY_TEST_ASAN)
