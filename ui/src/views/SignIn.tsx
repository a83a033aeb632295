/** What the page shows where the server wants to know who asks, and its warning where the server never asks. */
import { useState } from 'preact/hooks';
import { OPEN } from '../api/fetch';
import { signIn } from '../state/session';

export function SignIn() {
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget as HTMLFormElement).get('token') ?? '').trim();
    if (token === '' || busy) return;
    setBusy(true);
    setError('');
    signIn(token).catch((cause: unknown) => {
      setBusy(false);
      setError(cause instanceof Error ? cause.message : String(cause));
    });
  };
  return (
    <main class="nothing">
      <h1>Sign in</h1>
      <p class="lead">This store asks for a token that allows reading.</p>
      {window.isSecureContext ? (
        <form class="sign-in" onSubmit={submit}>
          <label>
            Token
            <input type="password" name="token" autocomplete="off" required aria-describedby="sign-in-error" />
          </label>
          <button type="submit" class="primary" disabled={busy}>Sign in</button>
        </form>
      ) : (
        <p>Signing in needs HTTPS: this address is not encrypted.</p>
      )}
      <p id="sign-in-error" class="bad" role="alert">{error}</p>
      <p class="faint">
        <code>decima token create --scope read</code> makes one, on the store's machine.
      </p>
    </main>
  );
}

export function OpenWarning() {
  if (!OPEN) return null;
  return (
    <aside class="open-warning" aria-label="Warning">
      Anybody who reaches this address can read and write profiles. With <code>--auth-tokens-file</code> the store asks for tokens.
    </aside>
  );
}
