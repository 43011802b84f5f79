/* SPDX-License-Identifier: MIT
 *
 * registers.h - what ptrace(2) tells of a stopped thread, by architecture; world.c alone
 * includes it.
 */
#ifndef HK_REGISTERS_H
#define HK_REGISTERS_H

#include <sys/user.h>

#include "base.h"

#if defined(__x86_64__)
#define HK_SAVED_BELOW \
	40              /* below a frame's address: what __builtin_unwind_init() saves */
#define HK_RED_ZONE 128 /* a leaf function's own words lie below its stack pointer */

static inline uintptr_t hk_registers_stack(const struct user_regs_struct *registers)
{
	return registers->rsp;
}

static inline uintptr_t hk_thread_pointer(void)
{
	uintptr_t pointer;

	/* The first word of the thread control block is its own address. */
	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return pointer;
}

/* Among the general registers; nothing else is asked for. */
#define HK_THREAD_REGISTERS 0

static inline uintptr_t hk_registers_thread(const struct user_regs_struct *registers,
					    uintptr_t other)
{
	(void)other;
	return registers->fs_base;
}
#elif defined(__aarch64__)
#define HK_SAVED_BELOW 0
#define HK_RED_ZONE 0

static inline uintptr_t hk_registers_stack(const struct user_regs_struct *registers)
{
	return registers->sp;
}

static inline uintptr_t hk_thread_pointer(void)
{
	return (uintptr_t)__builtin_thread_pointer();
}

#define HK_THREAD_REGISTERS 0x401 /* NT_ARM_TLS: a set of its own */

static inline uintptr_t hk_registers_thread(const struct user_regs_struct *registers,
					    uintptr_t other)
{
	(void)registers;
	return other;
}
#else
#error "the debug library knows the registers of x86-64 and aarch64"
#endif

#endif /* HK_REGISTERS_H */
