/* SPDX-License-Identifier: MIT
 *
 * fault.h - what the kernel tells a handler of SIGSEGV about the instruction that
 * faulted. The only place that knows the registers of an architecture for that.
 */
#ifndef HK_FAULT_H
#define HK_FAULT_H

#include <ucontext.h> /* REG_RIP needs _GNU_SOURCE */

#include "base.h"

#if defined(__x86_64__)
static inline uintptr_t hk_fault_pc(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
}

static inline bool hk_fault_is_write(const ucontext_t *context)
{
	return context->uc_mcontext.gregs[REG_ERR] &
	       2; /* W/R of the page fault's error code */
}
#elif defined(__aarch64__)
#include <asm/sigcontext.h>
#include <string.h>

static inline uintptr_t hk_fault_pc(const ucontext_t *context)
{
	return (uintptr_t)context->uc_mcontext.pc;
}

/*
 * The syndrome is one of the records behind the registers: class 0x24, a data abort from
 * user space, and its bit WnR.
 */
static inline bool hk_fault_is_write(const ucontext_t *context)
{
	const unsigned char *next = context->uc_mcontext.__reserved;
	const unsigned char *end = next + sizeof(context->uc_mcontext.__reserved);
	struct esr_context record;

	while ((size_t)(end - next) >= sizeof(record)) {
		memcpy(&record, next, sizeof(record));
		if (record.head.magic == ESR_MAGIC)
			return (record.esr >> 26 & 0x3f) == 0x24 && (record.esr & 64);
		if (!record.head.magic || record.head.size > (size_t)(end - next))
			break;
		next += record.head.size;
	}
	return false;
}
#endif

#endif /* HK_FAULT_H */
