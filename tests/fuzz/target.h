/* SPDX-License-Identifier: MIT
 *
 * target.h - one input of a fuzzer, on the library's build for unit tests, whose system calls
 * can be made to fail.  In that build nothing but the driver lives on the allocator: what an
 * input leaves behind is its own.
 */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry point; returns 0, or does not return.  With TEST_TRACE each step is told. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same, by a generator's choices. */
void target_run(uint64_t seed, uint64_t steps);

#endif /* FUZZ_TARGET_H */
