"""OpenAI Responses. Sources: https://platform.openai.com/docs/api-reference/responses, the SDK's typed models, and what
the ChatGPT Codex backend was seen to take and refuse."""
