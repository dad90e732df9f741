# The input of the step is what is asked, its output is the answer. A refusal is shown, and fails it.
curl --silent --show-error --fail-with-body "$OPENAI_BASE_URL/chat/completions" \
  --header "Authorization: Bearer $OPENAI_API_KEY" \
  --header "Content-Type: application/json" \
  --data "@$COMPTROLLER_INPUT" \
  --output "$COMPTROLLER_OUTPUT" && exit 0
cat "$COMPTROLLER_OUTPUT" >&2
exit 1
