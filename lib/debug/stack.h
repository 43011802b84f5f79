/* SPDX-License-Identifier: MIT
 *
 * stack.h - the calling stack, for a process that is about to abort.
 */
#ifndef HK_STACK_H
#define HK_STACK_H

/* A line for each frame that pastes into "addr2line -e OBJECT OFFSET". */
void hk_stack_write(int fd);

#endif /* HK_STACK_H */
