/* SPDX-License-Identifier: MIT
 *
 * refuse-built.c - system calls that the library's build for unit tests makes fail: for all
 * threads, so the driver's may not run side by side.
 */
#include "refuse.h"

#include "os.h"

bool refuse_init(void)
{
	return true;
}

void refuse_some(struct choice *choice)
{
	unsigned calls = 1 + (unsigned)choose(choice, (1 << HK_OS_CALLS) - 1);

	atomic_store(&hk_os_fail_once, choose(choice, 2));
	for (int call = 0; call < HK_OS_CALLS; call++)
		if (calls >> call & 1)
			atomic_store(&hk_os_fail[call], (int)choose(choice, 8));
}

void refuse_none(void)
{
	for (int call = 0; call < HK_OS_CALLS; call++)
		atomic_store(&hk_os_fail[call], -1);
}

bool refuse_any(void)
{
	for (int call = 0; call < HK_OS_CALLS; call++)
		if (atomic_load(&hk_os_fail[call]) != -1)
			return true;
	return false;
}

void refuse_enter(void)
{
}

void refuse_leave(void)
{
}

unsigned long refuse_count(void)
{
	return 0;
}
