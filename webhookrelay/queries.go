package webhookrelay

import _ "embed" // the statements

// What the assigner runs.
var (
	//go:embed queries/read_checkpoint.sql
	readCheckpointSQL string
	//go:embed queries/move_checkpoint.sql
	moveCheckpointSQL string
	//go:embed queries/read_webhooks.sql
	readWebhooksSQL string
	//go:embed queries/read_claims.sql
	readClaimsSQL string
	//go:embed queries/create_webhook.sql
	createWebhookSQL string
	//go:embed queries/update_webhooks.sql
	updateWebhooksSQL string
	//go:embed queries/reconfigure_webhook.sql
	reconfigureWebhookSQL string
	//go:embed queries/rotate_secret.sql
	rotateSecretSQL string
	//go:embed queries/reseal_webhook.sql
	resealWebhookSQL string
	//go:embed queries/reseal_former.sql
	resealFormerSQL string
	//go:embed queries/delete_webhooks.sql
	deleteWebhooksSQL string
	//go:embed queries/add_tasks.sql
	addTasksSQL string
	//go:embed queries/add_claims.sql
	addClaimsSQL string
	//go:embed queries/end_claims.sql
	endClaimsSQL string
	//go:embed queries/add_cancels.sql
	addCancelsSQL string
	//go:embed queries/add_events.sql
	addEventsSQL string
	//go:embed queries/add_deliveries.sql
	addDeliveriesSQL string
	//go:embed queries/add_fresh.sql
	addFreshSQL string
	//go:embed queries/notify.sql
	notifySQL string
)

// What the deliverer runs.
var (
	//go:embed queries/free_owned.sql
	freeOwnedSQL string
	//go:embed queries/lock_endpoints.sql
	lockEndpointsSQL string
	//go:embed queries/keep_attempts.sql
	keepAttemptsSQL string
	//go:embed queries/deliver.sql
	deliverSQL string
	//go:embed queries/finish_deliveries.sql
	finishDeliveriesSQL string
	//go:embed queries/leave_queue.sql
	leaveQueueSQL string
	//go:embed queries/enter_queue.sql
	enterQueueSQL string
	//go:embed queries/postpone_successors.sql
	postponeSuccessorsSQL string
	//go:embed queries/park.sql
	parkSQL string
	//go:embed queries/update_endpoints.sql
	updateEndpointsSQL string
	//go:embed queries/leave_fresh.sql
	leaveFreshSQL string
	//go:embed queries/balance.sql
	balanceSQL string
	//go:embed queries/candidates.sql
	candidatesSQL string
	//go:embed queries/take.sql
	takeSQL string
	//go:embed queries/read_endpoints.sql
	readEndpointsSQL string
	//go:embed queries/read_due.sql
	readDueSQL string
	//go:embed queries/read_events.sql
	readEventsSQL string
)

// What upkeep runs.
var (
	//go:embed queries/list_tasks.sql
	listTasksSQL string
	//go:embed queries/lock_endpoint.sql
	lockEndpointSQL string
	//go:embed queries/requeue.sql
	requeueSQL string
	//go:embed queries/reset_endpoint.sql
	resetEndpointSQL string
	//go:embed queries/cancel.sql
	cancelSQL string
	//go:embed queries/arrive.sql
	arriveSQL string
	//go:embed queries/absent.sql
	absentSQL string
	//go:embed queries/free_absent.sql
	freeAbsentSQL string
	//go:embed queries/end_task.sql
	endTaskSQL string
	//go:embed queries/list_gone.sql
	listGoneSQL string
	//go:embed queries/list_failing.sql
	listFailingSQL string
	//go:embed queries/list_unwarned.sql
	listUnwarnedSQL string
	//go:embed queries/warn.sql
	warnSQL string
	//go:embed queries/prune.sql
	pruneSQL string
	//go:embed queries/ask_disable.sql
	askDisableSQL string
)

// What others are told.
var (
	//go:embed queries/sample.sql
	sampleSQL string
	//go:embed queries/health.sql
	healthSQL string
	//go:embed queries/list_deliveries.sql
	listDeliveriesSQL string
	//go:embed queries/page_of_all.sql
	pageOfAllSQL string
	//go:embed queries/page_of_ended.sql
	pageOfEndedSQL string
	//go:embed queries/page_of_dead.sql
	pageOfDeadSQL string
	//go:embed queries/page_of_pending.sql
	pageOfPendingSQL string
	//go:embed queries/find_delivery.sql
	findDeliverySQL string
	//go:embed queries/list_events.sql
	listEventsSQL string
	//go:embed queries/position.sql
	positionSQL string
	//go:embed queries/get_delivery.sql
	getDeliverySQL string
	//go:embed queries/list_attempts.sql
	listAttemptsSQL string
)

// What owners ask for: how it gets in, and how it is done.
var (
	//go:embed queries/asked.sql
	askedSQL string
	//go:embed queries/ask_possible.sql
	askPossibleSQL string
	//go:embed queries/ask.sql
	askSQL string
	//go:embed queries/list_requests.sql
	listRequestsSQL string
	//go:embed queries/read_request.sql
	readRequestSQL string
	//go:embed queries/end_request.sql
	endRequestSQL string
	//go:embed queries/tidy.sql
	tidySQL string
	//go:embed queries/last_sequence.sql
	lastSequenceSQL string
	//go:embed queries/redeliver.sql
	redeliverSQL string
	//go:embed queries/add_ping.sql
	addPingSQL string
	//go:embed queries/count_again.sql
	countAgainSQL string
	//go:embed queries/find_replay.sql
	findReplaySQL string
	//go:embed queries/replay.sql
	replaySQL string
	//go:embed queries/move_replay.sql
	moveReplaySQL string
)
