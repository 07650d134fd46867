"""OpenAI Chat Completions. Sources: https://platform.openai.com/docs/api-reference/chat, the SDK's typed models, and
what GitHub Copilot was seen to send."""
