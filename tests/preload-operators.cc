// SPDX-License-Identifier: MIT
//
// Every form of operator new and delete, in a C++ program that knows nothing of the
// library; run by preload-cxx.sh with and without it, and the output must be the same.
//
// What differs on purpose goes to a file named by the argument: proof of what malloc is.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include <dlfcn.h>

namespace
{

int failures;

void report(const char *what, bool good)
{
	std::printf("%s: %s\n", what, good ? "good" : "BAD");
	failures += !good;
}

template <typename T> T *opaque(T *pointer)
{
	__asm__ volatile("" : "+r"(pointer) : : "memory");
	return pointer;
}

std::size_t opaque(std::size_t size)
{
	__asm__ volatile("" : "+r"(size));
	return size;
}

struct alignas(64) Wide {
	unsigned char bytes[192];
	Wide()
	{
		std::memset(bytes, 7, sizeof(bytes));
	}
	virtual ~Wide()
	{
		bytes[0] = 0;
	}
};

struct alignas(4096) Page {
	unsigned char bytes[8192];
};

bool aligned(const void *pointer, std::size_t alignment)
{
	return pointer && reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0;
}

void plain_forms()
{
	bool good = true;

	for (std::size_t size :
	     { 0, 1, 8, 16, 100, 1000, 5000, 70000, 300000, 3000000 }) {
		void *one = opaque(::operator new(opaque(size)));
		void *many = opaque(::operator new[](opaque(size)));
		void *quiet = opaque(::operator new(opaque(size), std::nothrow));
		void *quiet_many = opaque(::operator new[](opaque(size), std::nothrow));

		good = good && one && many && quiet && quiet_many && one != many &&
		       quiet != quiet_many;
		std::memset(one, 1, size);
		std::memset(many, 2, size);
		std::memset(quiet, 3, size);
		std::memset(quiet_many, 4, size);
		::operator delete(one);
		::operator delete[](many);
		::operator delete(quiet, std::nothrow);
		::operator delete[](quiet_many, std::nothrow);
		::operator delete(opaque(::operator new(opaque(size))), size);
		::operator delete[](opaque(::operator new[](opaque(size))), size);
	}
	::operator delete(opaque(static_cast<void *>(nullptr)));
	::operator delete[](opaque(static_cast<void *>(nullptr)));
	::operator delete(opaque(static_cast<void *>(nullptr)), std::size_t(8));
	report("new and delete, single and array, sized and not", good);
}

void aligned_forms()
{
	bool good = true;

	for (std::size_t alignment = 8; alignment <= 2 * 1024 * 1024; alignment *= 2) {
		std::align_val_t value{ alignment };

		for (std::size_t size : { 1, 24, 500, 9000, 100000, 2000000 }) {
			void *one = opaque(::operator new(opaque(size), value));
			void *many = opaque(::operator new[](opaque(size), value));
			void *quiet = opaque(
				::operator new(opaque(size), value, std::nothrow));
			void *quiet_many = opaque(
				::operator new[](opaque(size), value, std::nothrow));

			good = good && aligned(one, alignment) &&
			       aligned(many, alignment) && aligned(quiet, alignment) &&
			       aligned(quiet_many, alignment);
			std::memset(one, 1, size);
			std::memset(quiet_many, 1, size);
			::operator delete(one, value);
			::operator delete[](many, value);
			::operator delete(quiet, value, std::nothrow);
			::operator delete[](quiet_many, value, std::nothrow);
			::operator delete(opaque(::operator new(opaque(size), value)),
					  size, value);
			::operator delete[](opaque(::operator new[](opaque(size), value)),
					    size, value);
		}
	}
	report("aligned forms, 8 bytes to 2 MiB", good);
}

void objects()
{
	bool good = true;

	for (int i = 0; i < 1000; i++) {
		std::unique_ptr<Wide> one(opaque(new Wide));
		std::unique_ptr<Wide[]> many(opaque(new Wide[5]));
		std::unique_ptr<Page> page(opaque(new Page));

		good = good && aligned(one.get(), 64) && aligned(many.get(), 64) &&
		       aligned(page.get(), 4096) && many[4].bytes[191] == 7;
	}
	report("over-aligned objects and arrays of them", good);
}

struct Thrower {
	char bytes[500];
	Thrower()
	{
		throw std::runtime_error("no");
	}
};

void exceptions()
{
	const std::size_t too_much = opaque(std::size_t(PTRDIFF_MAX) - 4096);
	int caught = 0, handled = 0;

	try {
		void *block = opaque(::operator new(too_much));
		::operator delete(block);
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		void *block = opaque(::operator new[](too_much));
		::operator delete[](block);
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		void *block = opaque(::operator new (too_much, std::align_val_t{ 64 }));
		::operator delete (block, std::align_val_t{ 64 });
	} catch (const std::bad_alloc &) {
		caught++;
	}
	try {
		void *block = opaque(
			::operator new[](too_much, std::align_val_t{ 4096 }));
		::operator delete[](block, std::align_val_t{ 4096 });
	} catch (const std::bad_alloc &) {
		caught++;
	}
	report("four forms throw std::bad_alloc", caught == 4);

	report("four forms are quiet",
	       !opaque(::operator new(too_much, std::nothrow)) &&
		       !opaque(::operator new[](too_much, std::nothrow)) &&
		       !opaque(::operator new (too_much, std::align_val_t{ 64 },
					       std::nothrow)) &&
		       !opaque(::operator new[](too_much, std::align_val_t{ 64 },
						std::nothrow)));

	try {
		std::vector<long> vector;
		vector.resize(opaque(std::size_t(1) << 59));
	} catch (const std::bad_alloc &) {
		handled = 1;
	}
	report("a vector beyond all memory throws", handled == 1);

	caught = 0;
	for (int i = 0; i < 1000; i++) {
		try {
			delete opaque(new Thrower);
		} catch (const std::runtime_error &) {
			caught++;
		}
	}
	report("a constructor that throws: its memory is freed", caught == 1000);
}

int handler_calls;

void counting_handler()
{
	if (++handler_calls == 3)
		std::set_new_handler(nullptr);
}

void throwing_handler()
{
	handler_calls++;
	throw std::bad_alloc();
}

void handlers()
{
	const std::size_t too_much = opaque(std::size_t(PTRDIFF_MAX) - 4096);
	bool thrown = false;
	void *block;

	std::set_new_handler(counting_handler);
	try {
		block = opaque(::operator new(too_much));
		::operator delete(block);
	} catch (const std::bad_alloc &) {
		thrown = true;
	}
	report("a new_handler is called until it gives up", thrown && handler_calls == 3);

	handler_calls = 0;
	std::set_new_handler(counting_handler);
	block = opaque(::operator new(too_much, std::nothrow));
	report("also for the quiet forms", !block && handler_calls == 3);

	handler_calls = 0;
	thrown = false;
	std::set_new_handler(throwing_handler);
	try {
		block = opaque(::operator new(too_much));
		::operator delete(block);
	} catch (const std::bad_alloc &) {
		thrown = true;
	}
	report("a new_handler may throw", thrown && handler_calls == 1);
	handler_calls = 0;
	block = opaque(::operator new(too_much, std::nothrow));
	report("which the quiet forms turn into NULL", !block && handler_calls == 1);
	handler_calls = 0;
	block = opaque(::operator new[](too_much, std::align_val_t{ 128 }, std::nothrow));
	report("aligned or not", !block && handler_calls == 1);
	std::set_new_handler(nullptr);
}

unsigned long containers(unsigned seed)
{
	std::map<std::string, std::vector<int>> map;
	std::unordered_map<unsigned, std::string> hash;
	std::list<std::string> list;
	std::deque<std::unique_ptr<Wide>> deque;
	std::multiset<unsigned> set;
	std::ostringstream stream;
	unsigned long sum = 0;
	unsigned state = seed;

	for (int i = 0; i < 4000; i++) {
		state = state * 1103515245u + 12345u;
		unsigned value = state >> 8;
		std::string name(value % 60, char('a' + value % 26));

		map[name].push_back(i);
		hash[value % 997] = name + name;
		list.push_front(name);
		if (list.size() > 100)
			list.pop_back();
		deque.push_back(std::make_unique<Wide>());
		if (deque.size() > 50)
			deque.pop_front();
		set.insert(value % 1000);
		if (set.size() > 500)
			set.erase(set.begin());
		if (i % 16 == 0)
			stream << name << value;
	}
	for (const auto &entry : map)
		sum = sum * 31 + entry.first.size() + entry.second.size();
	for (unsigned i = 0; i < 997; i++)
		sum = sum * 31 + hash[i].size();
	for (unsigned value : set)
		sum = sum * 31 + value;
	for (char c : stream.str())
		sum = sum * 31 + static_cast<unsigned char>(c);
	return sum + list.size() + deque.size();
}

void threads()
{
	std::vector<std::thread> pool;
	std::vector<unsigned long> sums(8);
	std::shared_ptr<std::vector<int>> shared = std::make_shared<std::vector<int>>(
		1000, 1);
	std::atomic<long> total{ 0 };

	for (unsigned i = 0; i < 8; i++)
		pool.emplace_back([&sums, &total, i, shared] {
			thread_local std::string name = "thread " + std::string(100, 'x');
			std::function<long()> later = [shared, i] {
				return long(std::count(shared->begin(), shared->end(),
						       1)) +
				       i;
			};
			sums[i] = containers(i) + name.size();
			total += later();
		});
	for (auto &thread : pool)
		thread.join();
	for (unsigned i = 0; i < 8; i++)
		std::printf("thread %u: %lu\n", i, sums[i]);
	std::printf("total: %ld\n", total.load());
}

} // namespace

int main(int argc, char **argv)
{
	Dl_info info;

	if (argc != 2)
		return 2;
	if (FILE *proof = std::fopen(argv[1], "w")) {
		for (const char *name : { "malloc", "free", "_Znwm", "_ZdlPv", "_ZdlPvm",
					  "_ZnamSt11align_val_tRKSt9nothrow_t" })
			if (dladdr(dlsym(RTLD_DEFAULT, name), &info))
				std::fprintf(proof, "%s %s\n", name, info.dli_fname);
		std::fclose(proof);
	}
	plain_forms();
	aligned_forms();
	objects();
	exceptions();
	handlers();
	std::printf("containers: %lu\n", containers(42));
	threads();
	return failures != 0;
}
