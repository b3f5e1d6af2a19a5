/* What is remembered within a number: what is told of the rest. */
#include <criterion/criterion.h>

#include "bound.h"
#include "epoch.h"

Test(bound, documents_before)
{
	struct epoch *e;
	uint64_t version;

	cr_assert_eq(epoch_new(8, &e), 0);
	for (uint64_t ino = 1; ino <= 4; ino++)
		epoch_saved(e, ino, ino * 10);
	epoch_saved(e, 2, 99);
	cr_assert_not(epoch_full(e));
	cr_assert_eq(bound_count(BOUND_BEFORE), 0);
	epoch_saved(e, 5, 50);
	cr_assert(epoch_full(e), "a save beyond the number is not known");
	cr_assert_eq(bound_count(BOUND_BEFORE), 1);
	cr_assert_not(epoch_version(e, 5, &version));
	for (uint64_t ino = 1; ino <= 4; ino++) {
		cr_assert(epoch_version(e, ino, &version));
		cr_assert_eq(version, ino * 10, "of the first save");
	}
	epoch_free(e);
}

Test(bound, names)
{
	for (enum bound b = 0; b < BOUND_COUNT; b++)
		cr_assert(bound_name(b), "counter %d has no name", (int)b);
}
