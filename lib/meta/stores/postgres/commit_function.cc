// Writes the function that applies a commit. It is an interpreter of what compile() makes: see
// program.h for the steps. Everything that depends on a table is written from its layout.

#include "meta/stores/postgres/layout.h"
#include "meta/stores/postgres/program.h"
#include "meta/stores/postgres/schema.h"

namespace skerry::meta::postgres {

namespace {

std::string number(int offset) {
  return offset == 0 ? "n[i]" : "n[i+" + std::to_string(offset) + "]";
}
std::string field(ChangeField f) { return number(static_cast<int>(f)); }

std::string bytes(int offset) {
  return offset == 0 ? "d[j]" : "d[j+" + std::to_string(offset) + "]";
}

std::string when(int value) { return "WHEN " + std::to_string(value) + " THEN\n"; }
std::string step(Step s) { return when(static_cast<int>(s)); }

/// "t.ino=n[i+3] AND t.name=d[j]", key fields from number `offset` on.
std::string key_condition(const TableLayout& t, int offset) {
  std::vector<std::string> terms;
  for (const Column& column : t.key) {
    const bool named = column.kind == Kind::kBytes;
    terms.push_back(std::string("t.") + column.name + "=" + (named ? "d[j]" : number(offset++)));
  }
  return joined(terms, " AND ");
}

std::string epoch() {
  return "COALESCE((SELECT v.number FROM @.volume v WHERE v.name='epoch'::bytea),0)";
}

/// Where a column is in an array of attributes.
size_t position_of(std::string_view name) {
  const auto& columns = attribute_columns();
  size_t at = 0;
  while (columns.at(at).name != name) ++at;
  return at + 1;
}

// ---- 1. Locks

std::string select_locked() {
  std::string sql = "CASE n[i+2]\n";
  for (size_t table = 0; table < kTables; ++table) {
    const TableLayout& t = layout_of(static_cast<Table>(table));
    const std::string columns = std::string(t.versioned ? "t.version" : "0") +
                                (static_cast<Table>(table) == Table::kEntry ? ",t.ino" : ",0");
    for (int mode = 0; mode < kLockModes; ++mode) {
      sql += when(static_cast<int>(table) * kLockModes + mode) + "SELECT " + columns +
             " INTO v_version,v_ino FROM @." + t.name + " t WHERE " + key_condition(t, 3) + " " +
             kModes[mode] + ";\n";
    }
  }
  return sql + "END CASE;\nv_held := FOUND;\n";
}

// Inserting waits for who inserts the same; the row is gone again at once, but until this commit
// ends nobody else can insert it.
std::string take_absent() {
  std::string sql = "CASE n[i+2]/4\n";
  for (size_t table = 0; table < kTables; ++table) {
    const TableLayout& t = layout_of(static_cast<Table>(table));
    std::vector<std::string> values;
    int offset = 3;
    for (const Column& column : t.key) {
      values.push_back(column.kind == Kind::kBytes ? "d[j]" : number(offset++));
    }
    sql += when(static_cast<int>(table)) + "INSERT INTO @." + t.name + "(" +
           column_list(t.key, "") + ") VALUES(" + joined(values, ",") +
           ") ON CONFLICT DO NOTHING;\nv_held := FOUND;\nIF v_held THEN DELETE FROM @." + t.name +
           " t WHERE " + key_condition(t, 3) + "; END IF;\n";
  }
  return sql + "END CASE;\n";
}

/// Looks for the home of inode `ino` in all three tables; twice, since it may move from a later one
/// to an earlier one between the looks. Each waits for whoever moves it away.
std::string find_home(const std::string& select, const std::string& ino, const char* mode) {
  std::string sql = "v_home := 0;\nFOR k IN 1..2 LOOP\n";
  const char* const tables[] = {"entry", "inode", "orphan"};
  for (int home = 1; home <= 3; ++home) {
    sql += select + " FROM @." + tables[home - 1] + " t WHERE t.ino=" + ino +
           (home == 1 ? " AND NOT t.linked " : " ") + mode +
           ";\nIF FOUND THEN v_home := " + std::to_string(home) + "; EXIT; END IF;\n";
  }
  return sql + "END LOOP;\n";
}

std::string lock_home() {
  std::string sql = "CASE n[i+2]\n";
  for (int mode = 0; mode < kLockModes; ++mode) {
    sql += when(mode) + find_home("SELECT t.version INTO v_version", "n[i+3]", kModes[mode]);
  }
  return sql + "END CASE;\n";
}

std::string lock_table() {
  std::string sql = "CASE n[i+1]\n";
  for (size_t table = 0; table < kTables; ++table) {
    sql += when(static_cast<int>(table)) + "LOCK TABLE @." +
           layout_of(static_cast<Table>(table)).name + " IN SHARE ROW EXCLUSIVE MODE;\n";
  }
  return sql + "END CASE;\n";
}

constexpr char kFail[] = "v_failed := least(v_failed, n[i+1]);";

std::string locking_steps() {
  return step(Step::kLock) + select_locked() + "i := i + 8; j := j + 1;\n" +  //
         step(Step::kVersion) + select_locked() +
         "IF NOT v_held OR v_version<>n[i+6] OR (n[i+2]/4=" +
         std::to_string(static_cast<int>(Table::kEntry)) + " AND v_ino<>n[i+7]) THEN " + kFail +
         " END IF;\ni := i + 8; j := j + 1;\n" +  //
         step(Step::kExists) + select_locked() + "IF NOT v_held THEN " + kFail +
         " END IF;\ni := i + 8; j := j + 1;\n" +  //
         step(Step::kAbsent) + take_absent() + "IF NOT v_held THEN " + kFail +
         " END IF;\ni := i + 8; j := j + 1;\n" +  //
         step(Step::kHome) + lock_home() +
         "IF n[i+1]>=0 AND (v_home=0 OR (n[i+4]<>0 AND v_version<>n[i+4])) THEN " + kFail +
         " END IF;\ni := i + 5;\n" +  //
         step(Step::kDirStats) +
         "PERFORM 1 FROM @.dirstat t WHERE t.ino=n[i+1] ORDER BY t.shard FOR UPDATE;\n"
         "i := i + 2;\n" +  //
         step(Step::kLockTable) +
         lock_table() + "i := i + 2;\n";
}

// ---- 2. Ranges

std::string range_steps() {
  std::string sql = step(Step::kEmpty) + "CASE n[i+2]\n";
  for (size_t table = 0; table < kTables; ++table) {
    const TableLayout& t = layout_of(static_cast<Table>(table));
    const char* a = t.field(0);
    sql += when(static_cast<int>(table)) + "PERFORM 1 FROM @." + t.name + " t" +
           (a == nullptr ? "" : std::string(" WHERE t.") + a + "=n[i+3]") + " LIMIT 1;\n";
  }
  sql += "END CASE;\nIF FOUND THEN " + std::string(kFail) + " END IF;\ni := i + 4;\n";
  sql += step(Step::kPrefix) +
         "SELECT count(*) INTO v_version FROM (SELECT 1 FROM @.extent t WHERE t.ino=n[i+2] AND "
         "t.chunk=n[i+3] AND t.seq<=n[i+4] FOR SHARE) x;\nIF v_version<>n[i+5] THEN " +
         kFail + " END IF;\ni := i + 6;\n";
  // Whoever was told of a conflict sends another request. One whose answer was lost sends the same,
  // and what it expected is no longer so because it was applied.
  sql += step(Step::kChecked) +
         "IF v_failed<2147483647 THEN\n"
         "  r_status := 1; r_failed := v_failed;\n"
         "  EXIT;\n"
         "END IF;\ni := i + 1;\n";
  return sql;
}

// ---- 3. Mutations

std::string conflict(const char* sqlstate, const std::string& detail) {
  return std::string(
             "RAISE EXCEPTION 'skerry: this commit conflicts with another' USING ERRCODE='") +
         sqlstate + "', DETAIL=(" + detail + ")::text;";
}

/// What is stored of column `index`, whose number or bytes are in `value`.
std::string stored(Table table, const Column& column, const std::string& value) {
  const std::string name = column.name;
  if (table == Table::kClient && name == "heartbeat") return "@.now_ns()";
  if (table == Table::kOrphan && name == "epoch") return epoch();
  if (table == Table::kGarbage && name == "epoch") {
    return "CASE WHEN " + value + "=" + std::to_string(kCurrentEpoch) + " THEN " + epoch() +
           " ELSE " + value + " END";
  }
  return column.kind == Kind::kBool ? value + "<>0" : value;
}

std::string put_into(Table table) {
  constexpr int kFirst = 5;
  const TableLayout& t = layout_of(table);
  std::vector<std::string> values, assignments;
  int numbers = 0, strings = 0;
  std::string advance;
  std::string ino_of_entry;
  for (const Column& column : t.columns()) {
    std::string value;
    if (column.kind == Kind::kBytes) {
      value = bytes(strings++);
    } else if (column.kind == Kind::kNumbers) {
      const std::string count = number(kFirst + numbers++);
      const int begin = kFirst + numbers;
      value =
          "n[i+" + std::to_string(begin) + ":i+" + std::to_string(begin - 1) + "+" + count + "]";
      advance = "+" + count;
    } else {
      value = number(kFirst + numbers++);
    }
    values.push_back(stored(table, column, value));
  }
  for (const Column& column : t.values) {
    assignments.push_back(std::string(column.name) + "=excluded." + column.name);
  }
  const std::string insert = std::string("INSERT INTO @.") + t.name + "(" +
                             column_list(t.columns(), "") + ") VALUES(" + joined(values, ",") +
                             ") ON CONFLICT(" + column_list(t.key, "") + ") DO ";
  std::string sql = when(static_cast<int>(table));
  if (table == Table::kEntry) {
    // Of the numbers: parent, linked, ino.
    sql +=
        "IF n[i+4]<>0 AND n[i+6]=0 AND EXISTS(SELECT 1 FROM @.entry t WHERE t.ino=n[i+7] AND "
        "NOT t.linked AND (t.parent,t.name)<>(n[i+5],d[j])) THEN " +
        conflict(kMutationConflict, "n[i+1]") + " END IF;\n";
  }
  sql += "IF n[i+3]>=0 THEN\n  " + insert +
         "NOTHING;\n"
         "  IF NOT FOUND THEN\n"
         "    IF v_written THEN " +
         conflict(kUnclearConflict, "n[i+1]") +
         " END IF;\n"
         "    r_status := 1; r_failed := n[i+3];\n"
         "    EXIT;\n"
         "  END IF;\nELSE\n  " +
         insert + (t.values.empty() ? "NOTHING" : "UPDATE SET " + joined(assignments, ",")) +
         ";\nEND IF;\ni := i + " + std::to_string(kFirst + numbers) + advance + "; j := j + " +
         std::to_string(strings) + ";\n";
  return sql;
}

// The right side of an assignment is computed before `i` changes, so the array's length may be used
// in it.
std::string put_steps() {
  std::string sql = step(Step::kPut) + "CASE n[i+2]\n";
  for (size_t table = 0; table < kTables; ++table) sql += put_into(static_cast<Table>(table));
  return sql + "END CASE;\nv_written := true;\n";
}

std::string delete_steps() {
  std::string sql = step(Step::kDelete) + "CASE n[i+1]\n";
  for (size_t table = 0; table < kTables; ++table) {
    const TableLayout& t = layout_of(static_cast<Table>(table));
    sql += when(static_cast<int>(table)) + "DELETE FROM @." + t.name + " t WHERE " +
           key_condition(t, 2) + ";\n";
  }
  sql += "END CASE;\nv_written := true;\ni := i + 5; j := j + 1;\n";
  sql += step(Step::kDeleteRange) + "CASE n[i+1]*2+n[i+3]\n";
  for (size_t table = 0; table < kTables; ++table) {
    const TableLayout& t = layout_of(static_cast<Table>(table));
    for (int with_b = 0; with_b < 2; ++with_b) {
      std::vector<std::string> terms;
      if (t.field(0) != nullptr) terms.push_back(std::string("t.") + t.field(0) + "=n[i+2]");
      if (with_b && t.field(1) != nullptr) {
        terms.push_back(std::string("t.") + t.field(1) + "=n[i+4]");
      }
      if (t.field(2) != nullptr) terms.push_back(std::string("t.") + t.field(2) + "<=n[i+5]");
      sql += when(static_cast<int>(table) * 2 + with_b) + "DELETE FROM @." + t.name + " t" +
             (terms.empty() ? "" : " WHERE " + joined(terms, " AND ")) + ";\n";
    }
  }
  return sql + "END CASE;\nv_written := true;\ni := i + 6;\n";
}

// Patch and WriteData: as attribute_changes.h says it.
std::string change_step() {
  const std::string select =
      "SELECT t.mode,t.uid,t.gid,t.nlink,t.flags,t.length,t.atime,t.mtime,t.ctime,t.version "
      "INTO v_mode,v_uid,v_gid,v_nlink,v_flags,v_length,v_atime,v_mtime,v_ctime,v_version";
  using F = ChangeField;
  auto set = [](int bit, const char* variable, F f) {
    return "IF v_mask & " + std::to_string(bit) + " <> 0 THEN " + variable + " := " + field(f) +
           "; END IF;\n";
  };
  auto bit = [](int b) { return "v_mask & " + std::to_string(b) + " <> 0"; };
  std::string sql = step(Step::kChange) + find_home(select, field(F::kIno), "FOR NO KEY UPDATE") +
                    "v_mask := " + field(F::kMask) + ";\n";
  sql += "IF v_home=0 OR (" + bit(kIsWrite) + " AND v_flags & 1 <> 0 AND v_mask & " +
         std::to_string(kReplacesInline) + " = 0) THEN " + conflict(kMutationConflict, "n[i+1]") +
         " END IF;\n";
  sql += "v_before := v_length;\nv_capability := v_flags & 16 & " + field(F::kClearFlags) +
         " <> 0;\nv_inline := " + bit(kIsWrite) + " AND v_flags & 1 <> 0;\n";
  sql += set(kSetsMode, "v_mode", F::kMode) + set(kSetsUid, "v_uid", F::kUid) +
         set(kSetsGid, "v_gid", F::kGid) + set(kSetsLength, "v_length", F::kLength) +
         set(kSetsAtime, "v_atime", F::kAtime) + set(kSetsMtime, "v_mtime", F::kMtime) +
         set(kSetsCtime, "v_ctime", F::kCtime);
  sql += "v_length := greatest(v_length," + field(F::kMaxLength) +
         ");\nv_mtime := greatest(v_mtime," + field(F::kMaxMtime) +
         ");\nv_ctime := greatest(v_ctime," + field(F::kMaxCtime) +
         ");\nv_atime := greatest(v_atime," + field(F::kMaxAtime) + ");\n";
  // mode_without(): 8 is group execution, 4096 is kClearForOutsider.
  sql += "v_clear := " + field(F::kClearMode) +
         ";\nIF v_mode & 8 = 0 AND v_clear & 4096 = 0 THEN v_clear := v_clear & ~1024; END IF;\n"
         "v_mode := v_mode & ~v_clear;\n";
  sql += "v_flags := (v_flags & ~" + field(F::kClearFlags) + ") | " + field(F::kSetFlags) +
         ";\nv_nlink := v_nlink + " + field(F::kAddNlink) + ";\nIF NOT " + bit(kKeepsVersion) +
         " THEN v_version := v_version + 1; END IF;\n";
  sql += "IF " + bit(kIsWrite) + " THEN\n  v_base := CASE WHEN " + bit(kAppends) +
         " THEN v_before ELSE " + field(F::kOffset) + " END;\n  IF v_base > " +
         std::to_string(kMaxFileSize) + " OR " + field(F::kWriteLength) + " > " +
         std::to_string(kMaxFileSize) + " - v_base THEN " + conflict(kFileTooLarge, "n[i+1]") +
         " END IF;\n  IF " + bit(kExtends) + " THEN v_length := greatest(v_length, v_base + " +
         field(F::kWriteLength) + "); END IF;\nEND IF;\n";
  sql += "CASE v_home\n";
  const char* const tables[] = {"entry", "inode", "orphan"};
  for (int home = 1; home <= 3; ++home) {
    sql += when(home) + "UPDATE @." + tables[home - 1] +
           " t SET mode=v_mode,uid=v_uid,gid=v_gid,nlink=v_nlink,flags=v_flags,length=v_length,"
           "atime=v_atime,mtime=v_mtime,ctime=v_ctime,version=v_version WHERE t.ino=" +
           field(F::kIno) + (home == 1 ? " AND NOT t.linked" : "") + ";\n";
  }
  sql += "END CASE;\n";
  // A file without a name was taken out of the count when it lost its last one.
  sql += "IF " + field(F::kUsageClient) +
         "<>0 AND v_length<>v_before AND v_home<>3 THEN\n"
         "  INSERT INTO @.usage(scope,client,bytes,inodes) VALUES(0," +
         field(F::kUsageClient) +
         ",v_length-v_before,0) ON CONFLICT(scope,client) DO UPDATE SET "
         "bytes=usage.bytes+excluded.bytes;\nEND IF;\n";
  sql += "IF v_capability THEN DELETE FROM @.xattr t WHERE t.ino=" + field(F::kIno) +
         " AND t.name='" + kCapabilityXattr + "'::bytea; END IF;\n";
  sql += "IF v_inline THEN DELETE FROM @.inline t WHERE t.ino=" + field(F::kIno) + "; END IF;\n";
  // Pieces over chunks: as place_extents() does it. What one write adds to a chunk is one record.
  const std::string first = std::to_string(static_cast<int>(F::kCount));
  sql +=
      "v_chunks := '{}';\nv_list := '{}';\nv_chunk := -1;\n"
      "FOR k IN 0.." +
      field(F::kPieces) +
      "-1 LOOP\n"
      "  p := i + " +
      first +
      " + 7*k;\n"
      "  v_position := v_base + n[p];\n"
      "  v_done := 0;\n"
      "  WHILE v_done < n[p+1] LOOP\n"
      "    v_part := least(n[p+1] - v_done, " +
      std::to_string(kChunkSize) + " - v_position % " + std::to_string(kChunkSize) +
      ");\n"
      "    IF v_position / " +
      std::to_string(kChunkSize) +
      " <> v_chunk THEN\n"
      "      IF v_chunk >= 0 THEN\n        @FLUSH\n      END IF;\n"
      "      v_chunk := v_position / " +
      std::to_string(kChunkSize) +
      ";\n"
      "      v_list := '{}';\n"
      "    END IF;\n"
      "    v_list := v_list || ARRAY[v_position % " +
      std::to_string(kChunkSize) +
      ", v_part, n[p+2], n[p+3], n[p+4], n[p+5] + v_done, n[p+6]];\n"
      "    IF v_done > 0 AND n[p+2] <> 0 THEN v_more := v_more || n[p+2]; END IF;\n"
      "    v_done := v_done + v_part;\n"
      "    v_position := v_position + v_part;\n"
      "  END LOOP;\n"
      "END LOOP;\n"
      "IF v_chunk >= 0 THEN\n  @FLUSH\nEND IF;\n";
  const std::string flush =
      "INSERT INTO @.extent(ino,chunk,seq,extents) VALUES(" + field(F::kIno) +
      ",v_chunk,v_version,v_list) ON CONFLICT(ino,chunk,seq) DO UPDATE SET extents=CASE WHEN "
      "v_chunk=ANY(v_chunks) THEN extent.extents || excluded.extents ELSE excluded.extents END;\n"
      "        v_chunks := v_chunks || v_chunk;";
  for (size_t at; (at = sql.find("@FLUSH")) != std::string::npos;) sql.replace(at, 6, flush);
  sql +=
      "v_outcomes := v_outcomes || ARRAY[v_before, v_version];\nv_written := true;\n"
      "p := i + " +
      first + " + 7*" + field(F::kPieces) + ";\n";
  sql +=
      "FOREACH v_object IN ARRAY v_more LOOP\n  v_delta := 1;\n  @REFERENCES\nEND LOOP;\n"
      "v_more := '{}';\ni := p;\n";
  return sql;
}

// Inserting the absent record (one reference) and adding in one statement, so that of two who add
// to it at once none is lost.
constexpr char kReferences[] = R"sql(
  INSERT INTO @.object(id,refs,version) VALUES(v_object, 1 + v_delta, greatest(1, @.now_ns()))
    ON CONFLICT(id) DO UPDATE SET refs=object.refs + v_delta,
      version=greatest(object.version + 1, @.now_ns())
    RETURNING refs INTO v_refs;
  IF v_refs <= 1 THEN DELETE FROM @.object t WHERE t.id=v_object; END IF;
  IF v_refs < 1 THEN
    INSERT INTO @.garbage(epoch,object)
      VALUES(COALESCE((SELECT v.number FROM @.volume v WHERE v.name='epoch'::bytea),0), v_object)
      ON CONFLICT DO NOTHING;
  END IF;
)sql";

std::string add_steps() {
  return step(Step::kAddDirStat) +
         "UPDATE @.dirstat t SET mtime=CASE WHEN n[i+7]<>0 THEN n[i+4] ELSE "
         "greatest(t.mtime,n[i+4]) END, subdirs=t.subdirs+n[i+5], entries=t.entries+n[i+6] "
         "WHERE t.ino=n[i+2] AND t.shard=n[i+3];\nIF NOT FOUND THEN " +
         conflict(kMutationConflict, "n[i+1]") + " END IF;\nv_written := true;\ni := i + 8;\n" +  //
         step(Step::kAddReferences) +
         "v_object := n[i+1]; v_delta := n[i+2];\n@REFERENCES\nv_written := true;\n"
         "i := i + 3;\n" +  //
         step(Step::kAddUsage) +
         "INSERT INTO @.usage(scope,client,bytes,inodes) VALUES(n[i+1],n[i+2],n[i+3],n[i+4]) "
         "ON CONFLICT(scope,client) DO UPDATE SET bytes=usage.bytes+excluded.bytes, "
         "inodes=usage.inodes+excluded.inodes;\nv_written := true;\ni := i + 5;\n" +  //
         step(Step::kAddNumber) +
         "INSERT INTO @.volume(name,value,number,version) VALUES(d[j],'',n[i+1],1) "
         "ON CONFLICT(name) DO UPDATE SET number=volume.number+n[i+1], version=volume.version+1 "
         "RETURNING number-n[i+1] INTO v_before;\n"
         "v_outcomes := v_outcomes || ARRAY[v_before, 0::bigint];\nv_written := true;\n"
         "i := i + 2; j := j + 1;\n";
}

/// DELETEs the entry at the key in `condition`, if MoveFile moves it, and makes it an orphan. What
/// it is then is in v_list.
std::string orphan_file(const std::string& condition) {
  std::vector<std::string> assignments;
  for (const Column& column : layout_of(Table::kOrphan).values) {
    assignments.push_back(std::string(column.name) + "=excluded." + column.name);
  }
  return "WITH gone AS (DELETE FROM @.entry t WHERE " + condition + movable_condition() +
         " RETURNING t.*), made AS (INSERT INTO @.orphan(" +
         column_list(layout_of(Table::kOrphan).columns(), "") + ") SELECT " +
         joined(orphan_values("g", "n[i+5]"), ",") + "," + epoch() +
         " FROM gone g ON CONFLICT(ino) DO UPDATE SET " + joined(assignments, ",") +
         " RETURNING *) SELECT ARRAY[" + column_list(attribute_columns(), "m") +
         "] INTO v_list FROM made m;\n";
}

/// MoveFile. Rows that were there when it was the time to lock are locked, and stay; one that came
/// later may be gone again when it is to be moved, which is a conflict as well.
std::string move_step() {
  const std::string conflict = "IF v_written THEN " +
                               postgres::conflict(kMutationConflict, "n[i+1]") +
                               " END IF;\n  r_status := 3; r_failed := n[i+1];\n  EXIT;\n";
  const std::string gone =
      "  IF NOT FOUND THEN " + postgres::conflict(kMutationConflict, "n[i+1]") + " END IF;\n";
  const std::string usage =
      "INSERT INTO @.usage(scope,client,bytes,inodes) VALUES(0,n[i+6],-v_list[" +
      std::to_string(position_of("length")) +
      "],-1) ON CONFLICT(scope,client) DO UPDATE SET bytes=usage.bytes+excluded.bytes,"
      "inodes=usage.inodes+excluded.inodes;\n";
  const std::string from = "t.parent=n[i+2] AND t.name=d[j]";
  const std::string to = "t.parent=n[i+4] AND t.name=d[j+1]";
  return step(Step::kMove) + "PERFORM 1 FROM @.entry t WHERE " + from + movable_condition() +
         ";\nv_held := FOUND;\nIF v_held AND n[i+3]<>0 THEN\n  PERFORM 1 FROM @.entry t WHERE " +
         to + " AND NOT (n[i+3]=2 AND (n[i+4],d[j+1])<>(n[i+2],d[j])" + movable_condition() +
         ");\n  v_held := NOT FOUND;\nEND IF;\nIF NOT v_held THEN\n  " + conflict +
         "END IF;\nv_object := 0;\nv_version := 0;\nIF n[i+3]=0 THEN\n  " + orphan_file(from) +
         gone + "  " + usage + "ELSE\n  IF n[i+3]=2 THEN\n    " + orphan_file(to) +
         "    IF FOUND THEN\n      v_object := v_list[1];\n      v_version := v_list[" +
         std::to_string(position_of("version")) + "];\n      " + usage +
         "      IF n[i+7]<>0 THEN\n        UPDATE @.dirstat t SET entries=t.entries-1 WHERE "
         "t.ino=n[i+7] AND t.shard=n[i+8];\n        IF NOT FOUND THEN " +
         postgres::conflict(kMutationConflict, "n[i+1]") +
         " END IF;\n      END IF;\n    END IF;\n  END IF;\n  UPDATE @.entry t SET "
         "parent=n[i+4],name=d[j+1],ctime=n[i+5],version=t.version+1 WHERE " +
         from + movable_condition() + " RETURNING ARRAY[" + column_list(attribute_columns(), "t") +
         "] INTO v_list;\n" + gone +
         "END IF;\nv_outcomes := v_outcomes || v_list || "
         "ARRAY[v_object,v_version];\nv_written := true;\ni := i + 9; j := j + 2;\n";
}

constexpr char kBegin[] = R"sql(
CREATE OR REPLACE FUNCTION @.commit_1(
  p_high bigint, p_low bigint, p_session bigint, n bigint[], d bytea[],
  OUT r_status integer, OUT r_failed integer, OUT r_outcomes bigint[])
LANGUAGE plpgsql VOLATILE AS $function$
#variable_conflict use_column
DECLARE
  i integer := 1;
  j integer := 1;
  p integer;
  v_last integer := COALESCE(array_length(n, 1), 0);
  v_failed bigint := 2147483647;
  v_written boolean := false;
  v_outcomes bigint[] := '{}';
  v_held boolean;
  v_home integer;
  v_mask bigint;
  v_mode bigint; v_uid bigint; v_gid bigint; v_nlink bigint; v_flags bigint; v_length bigint;
  v_atime bigint; v_mtime bigint; v_ctime bigint; v_version bigint; v_ino bigint;
  v_before bigint; v_capability boolean; v_inline boolean; v_clear bigint;
  v_base bigint; v_position bigint; v_done bigint; v_part bigint; v_chunk bigint;
  v_list bigint[]; v_chunks bigint[]; v_more bigint[] := '{}';
  v_object bigint; v_delta bigint; v_refs bigint;
BEGIN
  r_status := 0;
  r_failed := -1;
  IF p_session <> 0 THEN
    PERFORM 1 FROM @.client t WHERE t.id=p_session FOR KEY SHARE;
    IF NOT FOUND THEN
      r_status := 2;
      v_last := 0;
    END IF;
  END IF;
  WHILE i <= v_last LOOP
    CASE n[i]
)sql";

constexpr char kEnd[] = R"sql(
    END CASE;
  END LOOP;
  IF p_high <> 0 OR p_low <> 0 THEN
    IF r_status = 0 THEN
      INSERT INTO @.request(high,low,outcomes) VALUES(p_high,p_low,v_outcomes);
    ELSE
      SELECT r.outcomes INTO v_outcomes FROM @.request r
        WHERE r.high=p_high AND r.low=p_low AND r.outcomes IS NOT NULL;
      IF FOUND THEN
        r_status := 0;
        r_failed := -1;
      END IF;
    END IF;
  END IF;
  r_outcomes := v_outcomes;
END
$function$;

-- The same for a request whose answer was lost: it may have been applied, it may be in progress,
-- and it may still arrive.
CREATE OR REPLACE FUNCTION @.settle_1(
  p_high bigint, p_low bigint, p_session bigint, n bigint[], d bytea[],
  OUT r_status integer, OUT r_failed integer, OUT r_outcomes bigint[])
LANGUAGE plpgsql VOLATILE AS $function$
#variable_conflict use_column
DECLARE
  v_detail text;
BEGIN
  INSERT INTO @.request(high,low) VALUES(p_high,p_low) ON CONFLICT DO NOTHING;
  SELECT r.outcomes INTO r_outcomes FROM @.request r WHERE r.high=p_high AND r.low=p_low
    FOR UPDATE;
  IF r_outcomes IS NOT NULL THEN
    r_status := 0;
    r_failed := -1;
    RETURN;
  END IF;
  BEGIN
    SELECT c.r_status, c.r_failed, c.r_outcomes INTO r_status, r_failed, r_outcomes
      FROM @.commit_1(0, 0, p_session, n, d) c;
  EXCEPTION WHEN SQLSTATE 'SK001' THEN
    GET STACKED DIAGNOSTICS v_detail = PG_EXCEPTION_DETAIL;
    r_status := 3;
    r_failed := v_detail::integer;
  END;
  IF r_status = 0 THEN
    UPDATE @.request r SET outcomes=r_outcomes WHERE r.high=p_high AND r.low=p_low;
  END IF;
END
$function$;
)sql";

}  // namespace

std::string commit_function_sql() {
  std::string sql = kBegin + locking_steps() + range_steps() + put_steps() + delete_steps() +
                    change_step() + add_steps() + move_step() + kEnd;
  for (size_t at; (at = sql.find("@REFERENCES")) != std::string::npos;) {
    sql.replace(at, std::string("@REFERENCES").size(), kReferences);
  }
  return sql;
}

}  // namespace skerry::meta::postgres
