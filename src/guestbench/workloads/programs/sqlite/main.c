/* sqlite: rows go into a table in memory, are indexed, summed up and read back in order. The work is that of
 * SQLite, in the library that Debian builds of it; here is only what it is told to do.
 *
 * It runs as an ordinary program, and as the only process of a kernel, which it then turns off at the end. It
 * touches no file. Lines, numbers and the hash are those of guestwork.
 */

#include "guestwork.h"

#include <sqlite3.h>

enum { OWNERS = 1000, PRICES = 100000, CODE_DIGITS = 16, MOST_ROWS = 100000000 };

/* What a round asks: of each owner by way of the index, of each hundredth of the prices, and of equal prices. */
static const char *const QUESTIONS[] = {
    "SELECT owner, count(*), sum(price), min(code), max(code) FROM item GROUP BY owner ORDER BY owner",
    "SELECT price / 1000, count(*), sum(weight) FROM item GROUP BY price / 1000 ORDER BY 1",
    "SELECT count(*), total(a.id - b.id) FROM item AS a JOIN item AS b"
    " ON b.owner = a.owner AND b.price = a.price AND b.id < a.id",
};
static const char EVERYTHING[] = "SELECT id, code, owner, price, weight FROM item ORDER BY code, id";

_Noreturn void finish(int status)
{
    if (syscall3(SYS_GETPID, 0, 0, 0) == 1) {
        enum { TCSBRK = 0x5409 };
        /* The last line may still be on its way out of the serial port. */
        sys_ioctl(1, TCSBRK, (void *)1);
        syscall3(SYS_REBOOT, 0xfee1dead, 0x28121969, 0x4321fedc);
        /* Here only where there is no machine to turn off: the first process of a container. */
    }
    for (;;)
        syscall3(SYS_EXIT_GROUP, status, 0, 0);
}

_Noreturn void fail(int status, const char *what, const char *subject)
{
    complain(what, subject);
    finish(status);
}

/* The program ends unless `result` is the one that is right here. */
static void expect(int right, int result, sqlite3 *base)
{
    if (result != right)
        fail(FAILED, "SQLite:", base ? sqlite3_errmsg(base) : sqlite3_errstr(result));
}

static void execute(sqlite3 *base, const char *sql)
{
    expect(SQLITE_OK, sqlite3_exec(base, sql, NULL, NULL, NULL), base);
}

static sqlite3_stmt *prepare(sqlite3 *base, const char *sql)
{
    sqlite3_stmt *statement;

    expect(SQLITE_OK, sqlite3_prepare_v2(base, sql, -1, &statement, NULL), base);
    return statement;
}

/* A linear congruential generator, whose low bits are not used: they repeat soon. */
static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(*state >> 32);
}

static void insert_rows(sqlite3 *base, uint64_t rows)
{
    sqlite3_stmt *insert = prepare(base, "INSERT INTO item VALUES (?, ?, ?, ?, ?)");
    uint64_t state = 20000101;

    execute(base, "BEGIN");
    for (uint64_t id = 1; id <= rows; id++) {
        uint32_t words[2] = {draw(&state), draw(&state)};
        uint32_t owner = draw(&state) % OWNERS, price = draw(&state) % PRICES;
        struct line code = {0};

        add_hex(&code, (const uint8_t *)words, CODE_DIGITS / 2);
        sqlite3_bind_int64(insert, 1, (sqlite3_int64)id);
        sqlite3_bind_text(insert, 2, code.text, CODE_DIGITS, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 3, owner);
        sqlite3_bind_int64(insert, 4, price);
        /* Eighths: sums of them are exact in whatever order they are made. */
        sqlite3_bind_double(insert, 5, price / 8.0);
        expect(SQLITE_DONE, sqlite3_step(insert), base);
        sqlite3_reset(insert);
    }
    execute(base, "COMMIT");
    sqlite3_finalize(insert);
}

/* Add what a query returns to the result: a line for each row, with `|` between columns. */
static void add_answer(struct work *work, sqlite3 *base, const char *sql)
{
    sqlite3_stmt *select = prepare(base, sql);
    int columns = sqlite3_column_count(select), step;

    while ((step = sqlite3_step(select)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) {
            const unsigned char *text = sqlite3_column_text(select, i);
            if (text)
                sha256_add(&work->hash, text, (size_t)sqlite3_column_bytes(select, i));
            sha256_add(&work->hash, i < columns - 1 ? "|" : "\n", 1);
        }
    }
    expect(SQLITE_DONE, step, base);
    sqlite3_finalize(select);
}

static void run_sqlite(struct work *work, uint64_t rows, uint64_t rounds)
{
    sqlite3 *base;

    /* Or it reads /dev/urandom, which not every guest has, for names that it never uses here. */
    sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, 1, NULL);
    expect(SQLITE_OK, sqlite3_open(":memory:", &base), NULL);
    execute(base, "PRAGMA temp_store = memory");
    execute(base, "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT NOT NULL, owner INTEGER NOT NULL,"
                  " price INTEGER NOT NULL, weight REAL NOT NULL)");
    insert_rows(base, rows);
    execute(base, "CREATE INDEX item_by_owner ON item (owner, price)");
    for (uint64_t round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof QUESTIONS / sizeof *QUESTIONS; i++)
            add_answer(work, base, QUESTIONS[i]);
    add_answer(work, base, EVERYTHING);
}

int main(int count, char **arguments)
{
    uint64_t rows = 60000, rounds = 1;
    struct line line = start_line("sqlite");
    struct work work;

    for (int i = 1; i < count; i++) {
        const char *value = arguments[i];
        if (take_word(&value, "rows=")) {
            if (!take_number(&value, &rows) || *value || rows < 1 || rows > MOST_ROWS)
                fail(USAGE, "not a number of rows from 1 to 100000000:", arguments[i]);
        } else if (take_word(&value, "rounds=")) {
            if (!take_number(&value, &rounds) || *value)
                fail(USAGE, "not a number of rounds from 0 on:", arguments[i]);
        } else {
            fail(USAGE, "sqlite does not know", arguments[i]);
        }
    }
    add_text(&line, " rows=");
    add_number(&line, rows);
    add_text(&line, " rounds=");
    add_number(&line, rounds);
    begin_work(&work, "sqlite", &line);
    run_sqlite(&work, rows, rounds);
    end_work(&work, rows);
    finish(DONE);
}
