/* SPDX-License-Identifier: MIT
 *
 * C++: what one family of functions gave is freed by another; deleted twice; with a wrong
 * size; written over.
 */
#include "libabuse.h"

#include <new>

/* C++14's, which clang 14 declares only if it is told to. */
extern "C" void delete_sized(void *object, size_t size) __asm__("_ZdlPvm");
extern "C" void delete_sized_aligned(void *object, size_t size,
				     size_t alignment) __asm__("_ZdlPvmSt11align_val_t");

namespace
{
struct alignas(128) Aligned {
	char bytes[128];
};

struct Base {
	long number;
};

struct Derived : Base {
	long more[4];
};
} // namespace

STEP char *make_one()
{
	char *object = static_cast<char *>(operator new(opaque_size(40)));

	return static_cast<char *>(opaque(object));
}

STEP char *make_array()
{
	char *array = new char[opaque_size(50)];

	return static_cast<char *>(opaque(array));
}

STEP void drop_one(void *object)
{
	operator delete(opaque(object));
	STAY();
}

STEP void drop_array(void *array)
{
	operator delete[](opaque(array));
	STAY();
}

STEP void *resize(void *block)
{
	void *longer = realloc(opaque(block), opaque_size(100));

	return opaque(longer);
}

STEP void mismatch(void *block, const char *function, void (*freer)(void *), size_t size,
		   const char *maker, const char *freed, const char *allocated)
{
	expect_fatal("%s(): mismatched free of %p (%zu-byte block of %s)", function,
		     block, size, maker);
	expect_party("freed", freed);
	expect_party("allocated", allocated);
	freer(block);
	STAY();
}

STEP void malloc_delete()
{
	mismatch(make(30), "operator delete", drop_one, 30, "malloc()",
		 "drop_one; mismatch; malloc_delete; commit", "make; malloc_delete");
	STAY();
}

STEP void malloc_delete_array()
{
	mismatch(make(30), "operator delete[]", drop_array, 30, "malloc()",
		 "drop_array; mismatch; malloc_delete_array; commit",
		 "make; malloc_delete_array");
	STAY();
}

STEP void new_free()
{
	mismatch(make_one(), "free", drop, 40, "operator new",
		 "drop; mismatch; new_free; commit", "make_one; new_free");
	STAY();
}

STEP void new_array_free()
{
	mismatch(make_array(), "free", drop, 50, "operator new[]",
		 "drop; mismatch; new_array_free; commit", "make_array; new_array_free");
	STAY();
}

STEP void new_delete_array()
{
	mismatch(make_one(), "operator delete[]", drop_array, 40, "operator new",
		 "drop_array; mismatch; new_delete_array; commit",
		 "make_one; new_delete_array");
	STAY();
}

STEP void new_array_delete()
{
	mismatch(make_array(), "operator delete", drop_one, 50, "operator new[]",
		 "drop_one; mismatch; new_array_delete; commit",
		 "make_array; new_array_delete");
	STAY();
}

STEP void resize_it(void *block)
{
	resize(block);
	STAY();
}

STEP void new_realloc()
{
	mismatch(make_one(), "realloc", resize_it, 40, "operator new",
		 "resize; resize_it; mismatch; new_realloc; commit",
		 "make_one; new_realloc");
	STAY();
}

STEP void drop_aligned(void *object)
{
	operator delete(opaque(object), std::align_val_t(128));
	STAY();
}

STEP void malloc_delete_aligned()
{
	mismatch(make(30), "operator delete", drop_aligned, 30, "malloc()",
		 "drop_aligned; mismatch; malloc_delete_aligned; commit",
		 "make; malloc_delete_aligned");
	STAY();
}

STEP Aligned *make_aligned()
{
	Aligned *object = new Aligned;

	return static_cast<Aligned *>(opaque(object));
}

STEP void new_aligned_free()
{
	mismatch(make_aligned(), "free", drop, 128, "operator new",
		 "drop; mismatch; new_aligned_free; commit",
		 "make_aligned; new_aligned_free");
	STAY();
}

/* ---- twice ---- */

STEP void delete_twice()
{
	char *object = make_one();

	drop_one(object);
	expect_fatal("operator delete(): double free of %p (40-byte block)",
		     static_cast<void *>(object));
	expect_party("freed again", "drop_one; delete_twice; commit; main");
	expect_party("freed first", "drop_one; delete_twice; commit; main");
	expect_party("allocated", "make_one; delete_twice; commit; main");
	drop_one(object);
	STAY();
}

STEP void delete_array_twice()
{
	char *array = make_array();

	drop_array(array);
	expect_fatal("operator delete[](): double free of %p (50-byte block)",
		     static_cast<void *>(array));
	expect_party("freed again", "drop_array; delete_array_twice; commit; main");
	expect_party("freed first", "drop_array; delete_array_twice; commit; main");
	expect_party("allocated", "make_array; delete_array_twice; commit; main");
	drop_array(array);
	STAY();
}

/* ---- sizes ---- */

STEP Base *make_derived()
{
	Base *object = new Derived;

	return static_cast<Base *>(opaque(object));
}

STEP void drop_base(Base *object)
{
	delete_sized(opaque(object), sizeof(Base));
	STAY();
}

/* A base class whose destructor is not virtual. */
STEP void delete_base()
{
	Base *object = make_derived();

	expect_fatal(
		"operator delete(): size mismatch for %p (size %zu, but the block has "
		"%zu bytes)",
		static_cast<void *>(object), sizeof(Base), sizeof(Derived));
	expect_party("freed", "drop_base; delete_base; commit; main");
	expect_party("allocated", "make_derived; delete_base; commit; main");
	drop_base(object);
	STAY();
}

STEP void drop_as_aligned(void *object)
{
	delete_sized_aligned(opaque(object), opaque_size(40), 1024);
	STAY();
}

STEP void delete_plain_as_aligned()
{
	char *object = make_one();

	expect_fatal("operator delete(): alignment mismatch for %p (alignment 1024)",
		     static_cast<void *>(object));
	expect_party("freed", "drop_as_aligned; delete_plain_as_aligned; commit; main");
	expect_party("allocated", "make_one; delete_plain_as_aligned; commit; main");
	drop_as_aligned(object);
	STAY();
}

/* ---- writes ---- */

STEP void overflow_array()
{
	char *array = make_array();

	scribble(array, 50);
	expect_fatal("operator delete[](): write past the end of %p (50-byte block, "
		     "changed to 0x78 at offset 50)",
		     static_cast<void *>(array));
	expect_party("found", "drop_array; overflow_array; commit; main");
	expect_party("allocated", "make_array; overflow_array; commit; main");
	drop_array(array);
	STAY();
}

STEP void late_write()
{
	char *object = make_one();

	drop_one(object);
	scribble(object, 8);
	expect_fatal(
		"hakmem_ctl(): write after free in %p (40-byte block, changed to 0x78 "
		"at offset 8)",
		static_cast<void *>(object));
	expect_party("found", "flush; late_write; commit; main");
	expect_party("freed", "drop_one; late_write; commit; main");
	expect_party("allocated", "make_one; late_write; commit; main");
	flush();
	STAY();
}

static const struct crime crimes[] = {
	{ "malloc-delete", nullptr, malloc_delete },
	{ "malloc-delete-array", nullptr, malloc_delete_array },
	{ "malloc-delete-aligned", nullptr, malloc_delete_aligned },
	{ "new-free", nullptr, new_free },
	{ "new-array-free", nullptr, new_array_free },
	{ "new-aligned-free", nullptr, new_aligned_free },
	{ "new-delete-array", nullptr, new_delete_array },
	{ "new-array-delete", nullptr, new_array_delete },
	{ "new-realloc", nullptr, new_realloc },
	{ "new-free-guarded", "guard:1", new_free },
	{ "delete-twice", nullptr, delete_twice },
	{ "delete-array-twice", nullptr, delete_array_twice },
	{ "delete-base", nullptr, delete_base },
	{ "delete-plain-as-aligned", nullptr, delete_plain_as_aligned },
	{ "overflow-array", nullptr, overflow_array },
	{ "late-write", nullptr, late_write },
};

FAMILY(crimes)
