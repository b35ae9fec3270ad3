package ledger

// The SQL of the core, in the portable subset of ledger/internal/sqldb. Rows are found by key; nothing sorts on TEXT. What an
// act asks joins no tables: SQLite plans a join anew whenever arguments are bound to it, which costs ten times the answer.
const (
	sqlSignedSize = `SELECT signed_size FROM log_head WHERE id = 1`
	sqlSaveNote   = `UPDATE log_head SET signed_size = $1, note = $2 WHERE id = 1 AND signed_size <= $1`

	sqlStatement      = `SELECT signed FROM statement WHERE hash = $1`
	sqlAddStatement   = `INSERT INTO statement (hash, kind, ord, lot, signed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	sqlSiteFreezes    = `SELECT ord, signed FROM statement WHERE lot = $1 AND kind IN ('freeze', 'unfreeze', 'lot-short') AND ord > 0 ORDER BY ord`
	sqlEntriesAbout   = `SELECT seq, body FROM log_entry WHERE subject = $1 AND kind = $2 ORDER BY seq`
	sqlStatementsKind = `SELECT signed FROM statement WHERE lot = $1 ORDER BY ord`
	sqlTakenWords     = `SELECT hash, signed FROM statement WHERE kind = 'order-taken'`
	sqlCutStatement   = `DELETE FROM statement WHERE hash = $1`
	sqlAddForgotten   = `INSERT INTO forgotten (hash, lot, word, seq, product) VALUES ($1, $2, $3, $4, $5)`
	sqlForgotten      = `SELECT word, product FROM forgotten WHERE hash = $1`

	sqlLot            = `SELECT release_hash, order_id, script, policy FROM lot WHERE lot = $1`
	sqlLotCounts      = `SELECT state, good, spares, next_unit, next_eid, open_count, good_count, lost_count, challenge_next, issued, approved, created, completed, (SELECT COUNT(*) FROM meta WHERE key = 'short/' || lot.lot) FROM lot WHERE lot = $1`
	sqlAddLot         = `INSERT INTO lot (lot, order_id, release_hash, state, good, spares, next_unit, next_eid, open_count, good_count, lost_count, challenge_next, issued, approved, policy, script, created, completed) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, 0, 0, 0, FALSE, $9, $7, $8, 0) ON CONFLICT DO NOTHING`
	sqlLotState       = `UPDATE lot SET state = $2, completed = $3 WHERE lot = $1 AND state = $4`
	sqlLotComplete    = `UPDATE lot SET state = 'complete', completed = $2 WHERE lot = $1 AND state IN ('released', 'running')`
	sqlLotClaimed     = `UPDATE lot SET next_unit = $2, next_eid = $3, open_count = open_count + 1, state = $4 WHERE lot = $1`
	sqlLotGood        = `UPDATE lot SET open_count = open_count - 1, good_count = good_count + 1 WHERE lot = $1`
	sqlLotLost        = `UPDATE lot SET open_count = open_count - 1, lost_count = lost_count + 1 WHERE lot = $1`
	sqlLots           = `SELECT lot, state FROM lot`
	sqlAssigned       = `SELECT vault, statement FROM assignment WHERE lot = $1`
	sqlAddAssigned    = `INSERT INTO assignment (lot, vault, statement) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	sqlOpenLots       = `SELECT a.vault, COUNT(*) FROM assignment a, lot l WHERE l.lot = a.lot AND l.state IN ('released', 'running') GROUP BY a.vault`
	sqlReserve        = `UPDATE lot SET challenge_next = challenge_next + $2 WHERE lot = $1`
	sqlScript         = `SELECT data FROM script_blob WHERE hash = $1`
	sqlPackage        = `SELECT data FROM package_blob WHERE hash = $1`
	sqlAddPackage     = `INSERT INTO package_blob (hash, data) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	sqlAddScript      = `INSERT INTO script_blob (hash, data) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	sqlOrderByID      = `SELECT hash, nonce, canonical, resolved, state, created FROM customer_order WHERE order_id = $1`
	sqlOrdersTaken    = `SELECT order_id, created FROM customer_order`
	sqlOrdersAccepted = `SELECT order_id, created FROM customer_order WHERE state = 'accepted'`
	sqlOrdersBetween  = `SELECT o.order_id, o.created, o.resolved, o.state, COALESCE(l.lot, ''), COALESCE(l.state, ''), COALESCE(l.good, 0), COALESCE(l.spares, 0), COALESCE(l.good_count, 0)
		FROM customer_order o LEFT JOIN lot l ON l.order_id = o.order_id WHERE o.created >= $1 AND o.created <= $2`
	sqlAddKi       = `INSERT INTO customer_ki (order_id, file, root, units, receive_key, receive_mode) VALUES ($1, $2, $3, $4, $5, $6)`
	sqlAddKiPage   = `INSERT INTO customer_ki_page (order_id, page, eki, hashes) VALUES ($1, $2, $3, $4)`
	sqlKi          = `SELECT file, root, units, receive_key, receive_mode FROM customer_ki WHERE order_id = $1`
	sqlKiParts     = `SELECT data FROM customer_ki_part WHERE file = $1 AND size = $2 ORDER BY at`
	sqlKiUpTo      = `SELECT upto FROM customer_ki_part WHERE file = $1 AND size = $2 ORDER BY at DESC LIMIT 1`
	sqlAddKiPart   = `INSERT INTO customer_ki_part (file, size, at, upto, data) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`
	sqlDropKiParts = `DELETE FROM customer_ki_part`
	sqlDropKiFile  = `DELETE FROM customer_ki_part WHERE file = $1`
	sqlDropKiPages = `DELETE FROM customer_ki_page WHERE order_id = $1`
	sqlAddOrder    = `INSERT INTO customer_order (order_id, hash, nonce, canonical, resolved, state, created) VALUES ($1, $2, $3, $4, $5, $6, $7)`
	sqlOrderState  = `UPDATE customer_order SET state = $2 WHERE order_id = $1`
	sqlForgetOrder = `UPDATE customer_order SET hash = $2, nonce = NULL, canonical = NULL, resolved = NULL WHERE order_id = $1`
	sqlDropKi      = `DELETE FROM customer_ki WHERE order_id = $1`
	sqlOrderNonce  = `SELECT nonce, canonical FROM customer_order WHERE order_id = $1`

	sqlOverlap  = `SELECT order_id, lo, hi FROM issued_range WHERE kind = $1 AND lo <= $3 AND hi >= $2`
	sqlAddRange = `INSERT INTO issued_range (kind, lo, hi, order_id) VALUES ($1, $2, $3, $4)`
	sqlBlocker  = `SELECT hi FROM issued_range WHERE kind = $1 AND lo <= $3 AND hi >= $2 ORDER BY hi DESC LIMIT 1`

	sqlChip    = `SELECT reel FROM chip WHERE chip = $1`
	sqlReel    = `SELECT file_hash, created FROM reel WHERE reel = $1`
	sqlReelFor = `SELECT COUNT(*) FROM reel WHERE product = $1`
	sqlReelOf  = `SELECT product FROM reel WHERE reel = $1`
	sqlAddReel = `INSERT INTO reel (reel, file_hash, product, count, created) VALUES ($1, $2, $3, $4, $5)`
	sqlAddChip = `INSERT INTO chip (chip, reel, twin) VALUES ($1, $2, FALSE) ON CONFLICT DO NOTHING`

	sqlAccount      = `SELECT n FROM stock_account WHERE product = $1 AND reel = $2 AND account = $3`
	sqlAddAccount   = `INSERT INTO stock_account (product, reel, account, n) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING`
	sqlPost         = `UPDATE stock_account SET n = n + $4 WHERE product = $1 AND reel = $2 AND account = $3`
	sqlAccounts     = `SELECT product, reel, account, n FROM stock_account WHERE n <> 0`
	sqlBlankLeft    = `SELECT COALESCE(SUM(n), 0) FROM stock_account WHERE product = $1 AND (account IN ('store', 'unissued') OR account LIKE 'line/%' OR account LIKE 'lot/%')`
	sqlAccountReels = `SELECT reel, n FROM stock_account WHERE account = $1 AND n <> 0`
	sqlBooking      = `SELECT seq FROM stock_booking WHERE id = $1`
	sqlAddBooking   = `INSERT INTO stock_booking (id, seq) VALUES ($1, $2)`
	sqlUnclosedLots = `SELECT lot FROM lot WHERE state <> 'closed'`
	sqlClaimsBefore = `SELECT eid_index, seq, outcome_seq FROM claim WHERE lot = $1 AND seq < $2`
	sqlClaimHashes  = `SELECT c.unit, c.gen, e.body FROM claim c JOIN log_entry e ON e.seq = c.seq WHERE c.lot = $1`
	sqlHasLot       = `SELECT good FROM lot WHERE lot = $1`
	sqlHasOrder     = `SELECT created FROM customer_order WHERE order_id = $1`
	sqlFrozen       = `SELECT what, name, reason, hash, since FROM frozen`
	sqlFreeze       = `INSERT INTO frozen (what, name, reason, hash, since) VALUES ($1, $2, $3, $4, $5)`
	sqlUnfreeze     = `DELETE FROM frozen WHERE what = $1 AND name = $2`
	sqlCleared      = `SELECT lot FROM line_clearance WHERE line = $1`
	sqlClearedFor   = `SELECT COUNT(*) FROM line_clearance WHERE lot = $1`
	sqlUnclear      = `DELETE FROM line_clearance WHERE line = $1`
	sqlClear        = `INSERT INTO line_clearance (line, lot) VALUES ($1, $2)`
	sqlApprove      = `UPDATE lot SET approved = TRUE WHERE lot = $1`
	sqlAddDestroyed = `INSERT INTO destroyed_chip (chip, statement) VALUES ($1, $2)`
	spoiltChips     = `SELECT c.chip, c.state, COALESCE(s.result, ''), COALESCE(u.fate, ''), COALESCE(u.bin, ''), CASE WHEN d.chip IS NULL THEN 0 ELSE 1 END
		FROM claim c LEFT JOIN sample s ON s.chip = c.chip LEFT JOIN unit_lost u ON u.chip = c.chip LEFT JOIN destroyed_chip d ON d.chip = c.chip WHERE c.lot = $1 `
	sqlSpoilt    = spoiltChips + `AND c.chip = $2`
	sqlAllSpoilt = spoiltChips + `AND c.chip IN (SELECT chip FROM claim WHERE lot = $1 AND state = 'lost' UNION SELECT chip FROM unit_lost WHERE lot = $1
		UNION SELECT chip FROM sample WHERE lot = $1 AND result = 'failed'
		UNION SELECT chip FROM claim WHERE lot = $1 AND state = 'good' AND EXISTS (SELECT 1 FROM sampling WHERE lot = $1 AND state = 'rejected'))`
	sqlLivePieces = `SELECT chip, COUNT(*) FROM presentation WHERE lot = $1 AND bin = 'reject-live' AND chip IS NOT NULL GROUP BY chip HAVING COUNT(*) > 1`
	sqlLotIssued  = `UPDATE lot SET issued = issued + $2 WHERE lot = $1`

	sqlSampling      = `SELECT state FROM sampling WHERE lot = $1`
	sqlAddSampling   = `INSERT INTO sampling (lot, state) VALUES ($1, 'due')`
	sqlSamplingState = `UPDATE sampling SET state = $2 WHERE lot = $1`
	sqlSamples       = `SELECT result, binned, COUNT(*) FROM sample WHERE lot = $1 GROUP BY result, binned`
	sqlSamplesOut    = `SELECT COUNT(*) FROM sample s WHERE s.lot = $1 AND s.binned = FALSE AND NOT EXISTS (SELECT 1 FROM unit_lost u WHERE u.chip = s.chip AND u.bin = '')`
	sqlSamplesTaken  = `SELECT COUNT(*) FROM sample WHERE lot = $1`
	sqlAddSample     = `INSERT INTO sample (chip, lot, nth, binned, result) VALUES ($1, $2, $3, FALSE, '')`
	sqlIsSample      = `SELECT COUNT(*) FROM sample WHERE chip = $1`
	sqlSampleOf      = `SELECT COUNT(*) FROM sample WHERE lot = $1 AND chip = $2 AND binned = TRUE`
	sqlSampleBinned  = `UPDATE sample SET binned = TRUE WHERE chip = $1`
	sqlSamplesResult = `UPDATE sample SET result = $2 WHERE lot = $1 AND binned = TRUE`
	sqlSampleFailed  = `UPDATE sample SET result = 'failed' WHERE chip = $1`

	claimColumns    = `lot, unit, gen, eid_index, eid, chip, state, seq, loss_seq, outcome_seq, cert, cert_key, ki, pair, sessions, failures, last_counter, line, head, number`
	sqlClaimOfChip  = `SELECT ` + claimColumns + ` FROM claim WHERE chip = $1`
	sqlClaim        = `SELECT ` + claimColumns + ` FROM claim WHERE lot = $1 AND unit = $2 AND gen = $3`
	sqlClaimsByEID  = `SELECT ` + claimColumns + ` FROM claim WHERE eid = $1`
	sqlClaimsOfUnit = `SELECT ` + claimColumns + ` FROM claim WHERE lot = $1 AND unit = $2 ORDER BY gen`
	sqlAddClaim     = `INSERT INTO claim (` + claimColumns + `) VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8, 0, NULL, NULL, NULL, NULL, 1, 0, 0, $9, $10, $11)`
	sqlClaimSession = `UPDATE claim SET sessions = sessions + 1, line = $4, head = $5, number = $6 WHERE lot = $1 AND unit = $2 AND gen = $3`
	sqlClaimCounter = `UPDATE claim SET last_counter = $4 WHERE lot = $1 AND unit = $2 AND gen = $3 AND last_counter < $4`
	sqlClaimFailed  = `UPDATE claim SET failures = failures + 1 WHERE lot = $1 AND unit = $2 AND gen = $3`
	sqlClaimCert    = `UPDATE claim SET cert = $4, cert_key = $5, pair = $6 WHERE lot = $1 AND unit = $2 AND gen = $3 AND state = 'open' AND (cert_key IS NULL OR cert_key <> $5)`
	sqlClaimKi      = `UPDATE claim SET ki = $4 WHERE lot = $1 AND unit = $2 AND gen = $3 AND state = 'open' AND ki IS NULL`
	sqlClaimEnd     = `UPDATE claim SET state = $4, outcome_seq = $5, pair = NULL WHERE lot = $1 AND unit = $2 AND gen = $3 AND state IN ('open', 'given-up')`
	sqlClaimGiveUp  = `UPDATE claim SET state = 'given-up', pair = NULL WHERE lot = $1 AND unit = $2 AND gen = $3 AND state = 'open'`
	sqlClaimsInWork = `SELECT ` + claimColumns + ` FROM claim WHERE lot = $1 AND state IN ('open', 'given-up') ORDER BY unit LIMIT $2`

	sqlAddLost  = `INSERT INTO lost_unit (lot, unit, gen) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`
	sqlNextLost = `SELECT unit, gen FROM lost_unit WHERE lot = $1 ORDER BY unit LIMIT 1`
	sqlCutLost  = `DELETE FROM lost_unit WHERE lot = $1 AND unit = $2`

	sqlLoss        = `SELECT hash, seq, receipt, good FROM unit_lost WHERE lot = $1 AND unit = $2 AND gen = $3`
	sqlAddLoss     = `INSERT INTO unit_lost (lot, unit, gen, hash, seq, chip, fate, bin, receipt, good) VALUES ($1, $2, $3, $4, $5, $6, $7, '', NULL, $8)`
	sqlLossSettled = `UPDATE unit_lost SET receipt = $4, good = $5 WHERE lot = $1 AND unit = $2 AND gen = $3 AND receipt IS NULL`
	sqlLossOfChip  = `SELECT COUNT(*) FROM unit_lost WHERE chip = $1`
	sqlLossBinned  = `UPDATE unit_lost SET bin = $2 WHERE chip = $1`
	sqlFates       = `SELECT fate, good, COUNT(*), COUNT(receipt) FROM unit_lost WHERE lot = $1 AND bin = '' GROUP BY fate, good`
	sqlInBins      = `SELECT COUNT(*) FROM presentation WHERE lot = $1 AND chip = $2 AND bin <> ''`
	sqlExportsOf   = `SELECT COUNT(*) FROM export WHERE lot = $1`
	sqlDueOf       = `SELECT n FROM verdict_due WHERE lot = $1 AND serial = $2`

	sqlSession       = `SELECT lot, unit, gen, serial, command, answer, line, head, number, last_n, ended, at FROM session WHERE session = $1`
	sqlAddSession    = `INSERT INTO session (session, lot, unit, gen, serial, command, answer, line, head, number, last_n, ended, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, FALSE, $11)`
	sqlSessionNext   = `UPDATE session SET last_n = $3, at = $4 WHERE lot = $1 AND serial = $2 AND last_n = $3 - 1 AND ended = FALSE`
	sqlSessionsEnd   = `UPDATE session SET ended = TRUE WHERE lot = $1 AND unit = $2 AND gen = $3 AND ended = FALSE`
	sqlLastSession   = `SELECT line, head, number, at FROM session WHERE lot = $1 AND unit = $2 AND gen = $3 AND ended = FALSE`
	sqlLastCompleted = `SELECT COALESCE(MAX(completed), 0) FROM lot`
	sqlLinesOf       = `SELECT line, MAX(at) FROM session WHERE lot = $1 GROUP BY line`
	sqlNewestSession = `SELECT session, last_n FROM session WHERE lot = $1 AND unit = $2 AND gen = $3 ORDER BY at DESC, serial DESC LIMIT 1`
	sqlUnsettled     = `SELECT session, serial, line, head, number, last_n FROM session WHERE lot = $1 AND unit = $2 AND gen = $3 AND ended = FALSE`
	sqlSessionEnd    = `UPDATE session SET ended = TRUE WHERE session = $1`
	sqlSerialUsed    = `SELECT session FROM session WHERE lot = $1 AND serial = $2`
	sqlSessionsOfPut = `SELECT COUNT(*) FROM session WHERE line = $1 AND head = $2 AND number = $3`

	sqlActs      = `SELECT n, responses_hash, served, final, seq, at FROM act WHERE lot = $1 AND serial = $2 AND n >= $3 AND n <= $4`
	sqlAddAct    = `INSERT INTO act (lot, serial, n, responses_hash, served, final, seq, at) VALUES ($1, $2, $3, $4, NULL, FALSE, $5, $6)`
	sqlActServed = `UPDATE act SET served = $4, final = $5 WHERE lot = $1 AND serial = $2 AND n = $3`
	sqlAddDue    = `INSERT INTO verdict_due (lot, serial, n, responses, state) VALUES ($1, $2, $3, $4, $5)`
	sqlDue       = `SELECT responses, state FROM verdict_due WHERE lot = $1 AND serial = $2 AND n = $3`
	sqlForgetDue = `DELETE FROM verdict_due WHERE lot = $1 AND serial IN (SELECT serial FROM session WHERE lot = $1 AND unit = $2 AND gen = $3)`

	sqlPresentation    = `SELECT lot, chip, verdict, reason, bin, seq FROM presentation WHERE line = $1 AND head = $2 AND number = $3`
	sqlAddPresentation = `INSERT INTO presentation (line, head, number, lot, chip, verdict, reason, bin, seq) VALUES ($1, $2, $3, $4, $5, '', '', '', 0) ON CONFLICT DO NOTHING`
	sqlJudge           = `UPDATE presentation SET verdict = $4, reason = $5, seq = $6 WHERE line = $1 AND head = $2 AND number = $3 AND bin = ''`
	sqlBin             = `UPDATE presentation SET bin = $4 WHERE line = $1 AND head = $2 AND number = $3 AND bin = ''`
	sqlAtHead          = `SELECT chip, bin FROM presentation WHERE line = $1 AND head = $2 ORDER BY number DESC LIMIT 1`
	sqlLaterAtHead     = `SELECT COUNT(*) FROM presentation WHERE line = $1 AND head = $2 AND number > $3`
	sqlUnbinned        = `SELECT COUNT(*) FROM presentation p WHERE p.lot = $1 AND p.bin = '' AND p.verdict IN ('good', 'sample', 'reject-live', 'reject-blank', 'return')
		AND NOT EXISTS (SELECT 1 FROM unit_lost u WHERE u.chip = p.chip)
		AND NOT EXISTS (SELECT 1 FROM presentation q WHERE q.line = p.line AND q.head = p.head AND q.number > p.number)`

	sqlUnbinnedAt = `SELECT COUNT(*) FROM presentation p WHERE p.line = $1 AND p.bin = '' AND p.verdict IN ('good', 'sample', 'reject-live', 'reject-blank', 'return')
		AND NOT EXISTS (SELECT 1 FROM presentation q WHERE q.line = p.line AND q.head = p.head AND q.number > p.number)`

	sqlAddBinCount    = `INSERT INTO bin_count (lot, bin, n) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING`
	sqlBinCount       = `UPDATE bin_count SET n = n + 1 WHERE lot = $1 AND bin = $2`
	sqlBins           = `SELECT bin, n FROM bin_count WHERE lot = $1`
	sqlAddReasonCount = `INSERT INTO reason_count (lot, verdict, reason, n) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING`
	sqlReasonCount    = `UPDATE reason_count SET n = n + 1 WHERE lot = $1 AND verdict = $2 AND reason = $3`
	sqlReasons        = `SELECT verdict, reason, n FROM reason_count WHERE lot = $1`

	sqlCutCount  = `DELETE FROM count_report WHERE lot = $1 AND source = $2`
	sqlSetCount  = `INSERT INTO count_report (lot, source, body, times, id, explained) VALUES ($1, $2, $3, $4, $5, FALSE)`
	sqlTimes     = `SELECT times, id FROM count_report WHERE lot = $1 AND source = $2`
	sqlHandCount = `SELECT body, times, explained FROM count_report WHERE lot = $1 AND source = $2`
	sqlExplain   = `UPDATE count_report SET explained = TRUE WHERE lot = $1 AND source = $2`
	sqlCount     = `SELECT body FROM count_report WHERE lot = $1 AND source = $2`

	sqlExport    = `SELECT hash FROM export WHERE lot = $1 AND what = $2`
	sqlAddExport = `INSERT INTO export (lot, what, receiver, hash, seq, created) VALUES ($1, $2, $3, $4, $5, $6)`

	sqlHead    = `SELECT size, signed_size, note FROM log_head WHERE id = 1`
	sqlAddHead = `INSERT INTO log_head (id, size, signed_size, note) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING`
	sqlMeta    = `SELECT value FROM meta WHERE key = $1`
	sqlCutMeta = `DELETE FROM meta WHERE key = $1`
	sqlAddMeta = `INSERT INTO meta (key, value) VALUES ($1, $2)`

	sqlAddProcess      = `INSERT INTO process (instance, since) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	sqlProcess         = `SELECT since FROM process WHERE instance = $1`
	sqlForgetProcesses = `DELETE FROM process WHERE since < $1`

	sqlEntry          = `SELECT kind, body FROM log_entry WHERE seq = $1`
	sqlNewestEntry    = `SELECT body FROM log_entry WHERE subject = $1 AND kind = $2 ORDER BY seq DESC LIMIT 1`
	sqlEntriesFrom    = `SELECT seq, kind, body FROM log_entry WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	sqlEntriesSubject = `SELECT seq, kind, body FROM log_entry WHERE subject = $1 ORDER BY seq`
)
